//! What takes memory follows from files and texts, and has an end: see
//! `docs/security.md`.

use bertscript::{
    Archive, Checkpoint, ClassifyOptions, Device, EmbeddingPipeline, EncodeOptions, Error,
    ErrorKind, Inputs, LoadOptions, Module, Padding, PreTrained, Shapes, Text, Tokenizer,
};
use bertscript_tests::{Execution, architecture, bertscript_ok, copy_of, fixture, root, scratch};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use torchscript::ScriptModule;
use torchscript_reader::ArchiveReader;

fn refused<T>(result: Result<T, Error>, kind: ErrorKind, words: &[&str]) {
    let error = result.err().expect("it was taken");
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is missing from: {error}");
    }
}

/// A copy of the fixture `model` with another `config.json`, opened.
fn with_config(change: impl FnOnce(&Path)) -> Result<Checkpoint, Error> {
    let directory = copy_of("model");
    let config = directory.path().join("config.json");
    std::fs::remove_file(&config).unwrap();
    change(&config);
    Checkpoint::open(directory.path())
}

#[test]
fn files_beside_weights_are_small_and_regular() {
    let large = with_config(|config| {
        std::fs::File::create(config).unwrap().set_len((64 << 20) + 1).unwrap();
    });
    let words = ["config.json: found 67108865 bytes, expected at most 67108864"];
    refused(large, ErrorKind::Checkpoint, &words);
    let words = ["config.json: expected a regular file"];
    let pipe = with_config(|config| {
        assert!(Command::new("mkfifo").arg(config).status().unwrap().success());
    });
    refused(pipe, ErrorKind::Checkpoint, &words);
    let endless = with_config(|config| {
        std::os::unix::fs::symlink("/dev/zero", config).unwrap();
    });
    refused(endless, ErrorKind::Checkpoint, &words);
}

#[test]
fn archives_are_regular_files() {
    let directory = scratch();
    let pipe = directory.path().join("pipe.pt");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [&pipe, directory.path(), Path::new("/dev/zero")] {
        let words = [path.to_str().unwrap(), "expected a regular file"];
        refused(Archive::open(path), ErrorKind::Archive, &words);
        refused(Module::load(path, Device::Cpu, None), ErrorKind::Archive, &words);
    }
}

#[test]
fn json_is_not_nested_without_end() {
    let deep = with_config(|config| {
        let text = format!("{{\"model_type\": {}{}}}", "[".repeat(200), "]".repeat(200));
        std::fs::write(config, text).unwrap();
    });
    refused(deep, ErrorKind::Config, &["config.json"]);
}

#[test]
fn a_model_that_no_memory_holds_is_refused_before_it_is_made() {
    let checkpoint = with_config(|config| {
        let text = r#"{"vocab_size": 16777216, "hidden_size": 1048576, "num_attention_heads": 1}"#;
        std::fs::write(config, text).unwrap();
    });
    let words = ["parameters, expected at most 17179869184"];
    refused(checkpoint, ErrorKind::Config, &words);
}

/// The tokenizers crate would ask for 5 GB for this file, which fuzzing found.
#[test]
fn a_tokenizer_states_no_size_that_it_has_not() {
    let file = root().join("fuzz/corpus/tokenizer_json/charsmap");
    let text = std::fs::read_to_string(file).unwrap();
    let directory = scratch();
    let path = |name: &str| directory.path().join(name);
    for class in ["BertTokenizer", "PreTrainedTokenizerFast"] {
        let config = format!("{{\"tokenizer_class\": \"{class}\", \"unk_token\": \"[UNK]\"}}");
        std::fs::write(path("tokenizer_config.json"), config).unwrap();
        std::fs::write(path("config.json"), "{}").unwrap();
        std::fs::write(path("tokenizer.json"), &text).unwrap();
        let words = ["tokenizer.json", "precompiled_charsmap: found a trie of"];
        refused(Tokenizer::open(directory.path()), ErrorKind::Config, &words);
    }
}

#[test]
fn modules_stay_inside_and_are_few() {
    let directory = copy_of("model");
    let modules = directory.path().join("modules.json");
    let entry = |path: &str| format!(r#"{{"path": "{path}", "type": "models.Normalize"}}"#);
    let assets = |list: &[String]| {
        std::fs::write(&modules, format!("[{}]", list.join(","))).unwrap();
        Checkpoint::open(directory.path())?.assets()
    };
    for path in ["../x", "/etc", "a/../../x"] {
        let list = [entry(""), entry(path)];
        refused(assets(&list), ErrorKind::Config, &[path, "leads out of the directory"]);
    }
    let words = ["found 17 modules, expected at most 16"];
    refused(assets(&vec![entry(""); 17]), ErrorKind::Config, &words);
}

#[test]
fn a_pipeline_pools_each_way_once() {
    let pooling = format!(
        r#"{{"embedding_dimension": 32, "pooling_mode": [{}]}}"#,
        [r#""mean""#; 7].join(",")
    );
    let modules = r#"[{"path": "", "type": "Transformer"}, {"path": "1", "type": "Pooling"}]"#;
    let files = [("modules.json", modules), ("1/config.json", &pooling)];
    let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
    let pipeline = EmbeddingPipeline::from_assets(&files.into_iter().collect());
    refused(pipeline, ErrorKind::Config, &["1/config.json", "found 7 modes, expected at most 6"]);
}

#[test]
fn texts_and_batches_have_an_end() {
    let tokenizer = Tokenizer::open(fixture("text/sentence")).unwrap();
    let options = EncodeOptions { details: false, ..EncodeOptions::default() };
    let long = "a".repeat((16 << 20) + 1);
    let texts = [Text::from("short"), Text::from(&long)];
    let words = ["text 1: found 16777217 bytes, expected at most 16777216"];
    refused(tokenizer.encode_batch(&texts, &options), ErrorKind::InvalidInput, &words);

    let long = "a ".repeat(1 << 20);
    let mut texts = vec![Text::from("short"); 256];
    texts.push(Text::from(&long));
    let options = EncodeOptions { padding: Padding::Longest, ..options };
    let words = ["found 257 rows to fill up to", "expected at most 268435456 tokens in all"];
    refused(tokenizer.encode_batch(&texts, &options), ErrorKind::InvalidInput, &words);

    let row = vec![1; 1 << 15];
    refused(Inputs::from_rows(&vec![&row; 1 << 14], 0), ErrorKind::InvalidInput, &["16384 rows"]);
}

/// The fixture `model`, exported and saved again with another `bertscript.json`.
fn redescribed(change: impl FnOnce(&mut serde_json::Value)) -> tempfile::TempDir {
    let folder = scratch();
    let file = folder.path().join("model.pt");
    bertscript_ok(&[
        "export".as_ref(),
        fixture("model").as_os_str(),
        "-o".as_ref(),
        file.as_os_str(),
    ]);
    let mut reader = ArchiveReader::open(&file).unwrap();
    let names = reader.records().unwrap();
    let names: Vec<_> = names.iter().filter_map(|name| name.strip_prefix("extra/")).collect();
    let mut change = Some(change);
    let mut files = Vec::new();
    for name in names {
        let mut contents = reader.extra_file(name).unwrap().unwrap();
        if name == "bertscript.json" {
            let mut json = serde_json::from_slice(&contents).unwrap();
            change.take().unwrap()(&mut json);
            contents = serde_json::to_vec(&json).unwrap();
        }
        files.push((name, contents));
    }
    let files: Vec<_> = files.iter().map(|(name, data)| (*name, data.as_slice())).collect();
    let script = ScriptModule::load(&file, None).unwrap();
    script.save(std::fs::File::create(&file).unwrap(), &files).unwrap();
    folder
}

#[test]
fn a_description_cannot_promise_what_the_model_has_not() {
    let load = |folder: &tempfile::TempDir| {
        Module::load(folder.path().join("model.pt"), Device::Cpu, None)
    };
    let vocab = redescribed(|json| json["limits"]["vocab_size"] = 1_000_000_i64.into());
    let words = [
        "bertscript.json: limits: found",
        "\"vocab_size\":1000000",
        "expected those of config.json",
    ];
    refused(load(&vocab), ErrorKind::Archive, &words);

    let inputs = redescribed(|json| json["inputs"][0]["shape"] = serde_json::json!(["S"]));
    refused(load(&inputs), ErrorKind::Archive, &["bertscript.json: inputs: found the shape"]);

    let huge = serde_json::json!(["B", "S", "1099511627776"]);
    let outputs = redescribed(|json| json["outputs"][0]["shape"] = huge);
    let module = load(&outputs).unwrap();
    let run = module.run(&Inputs::from_rows(&[[1, 2, 3]], 0).unwrap());
    refused(run, ErrorKind::Archive, &["has", "values, but the shape [1, 3, 1099511627776]"]);
}

#[test]
fn a_text_without_tokens_is_refused_by_its_number() {
    let scratch = scratch();
    let directory = scratch.path();
    // Nothing adds [CLS] and [SEP].
    let tokenizer = std::fs::read(fixture("text/sentence/tokenizer.json")).unwrap();
    let mut tokenizer: Value = serde_json::from_slice(&tokenizer).unwrap();
    tokenizer["post_processor"] = Value::Null;
    std::fs::write(directory.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let class = r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#;
    std::fs::write(directory.join("tokenizer_config.json"), class).unwrap();
    let config = r#"{"vocab_size": 128, "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 64}"#;
    std::fs::write(directory.join("config.json"), config).unwrap();

    let checkpoint = Checkpoint::open(directory).unwrap();
    let options = LoadOptions {
        architecture: Some(architecture("BertForSequenceClassification")),
        random_init: Some(1),
        ..LoadOptions::default()
    };
    let model = PreTrained::from_checkpoint(&checkpoint, &options).unwrap();
    let file = directory.join("model.pt");
    model.export(&Shapes::Any, &file).unwrap();
    let unpadded = Module::load(&file, Device::Cpu, None).unwrap();
    let by_code = Execution::TorchScript.of(&unpadded).unwrap();
    for module in [unpadded, by_code] {
        let error = module.classify(["the cat", ""], &ClassifyOptions::default()).unwrap_err();
        assert_eq!((error.kind(), error.text()), (ErrorKind::InvalidInput, Some(1)), "{error}");
        assert_eq!(error.to_string(), "text 1: found no tokens, expected at least one");
        assert_eq!(module.classify(["the cat"], &ClassifyOptions::default()).unwrap().len(), 1);
        let none = ClassifyOptions { top_k: Some(0), ..ClassifyOptions::default() };
        refused(module.classify(["the cat"], &none), ErrorKind::InvalidInput, &["top_k: found 0"]);
    }
}
