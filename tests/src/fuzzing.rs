//! What reads files of strangers, given whatever there is: `fuzz/` makes inputs
//! up, an ordinary test replays those of `fuzz/corpus`.
//!
//! Whatever comes in, nothing panics, memory stays within what the file is worth
//! (`cargo xtask fuzz` limits it), and a refusal says why.

mod c_calls;

pub use c_calls::{c_calls, make_modules};

use bertscript::{
    Architecture, Archive, ArchiveWeights, Assets, Checkpoint, Config, EmbeddingPipeline,
    EncodeOptions, Encoding, Error, ErrorKind, Padding, Tensor, Text, Tokenizer, Truncation,
    read_safetensors, weights_sha256, write_safetensors,
};
use bertscript_process::MappedFile;
use std::fs::File;
use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use torchscript_reader::ArchiveReader;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// One format: its name in `fuzz/`, and what reads it.
pub type Target = (&'static str, fn(&[u8]));

/// Every format. A row here needs a program and a corpus in `fuzz/`.
pub const TARGETS: [Target; 13] = [
    ("config", config),
    ("safetensors", safetensors),
    ("shard_index", shard_index),
    ("torch_zip", torch_file),
    ("torch_legacy", torch_file),
    ("pickle", pickle),
    ("archive", archive),
    ("metadata", metadata),
    ("tokenizer_json", tokenizer_json),
    ("vocab", vocab),
    ("sentencepiece", sentencepiece),
    ("modules", modules),
    ("c_calls", c_calls),
];

/// Ends a file where an input is several. No text of JSON has it.
const END_OF_FILE: u8 = b'\x0c';

/// `config.json`.
pub fn config(data: &[u8]) {
    let Some(config) = read(Config::from_json(data)) else { return };
    assert_eq!(config.hidden_size() % config.num_attention_heads(), 0);
    let classes = Architecture::all().filter(|class| class.model_type() == config.model_type());
    for class in classes {
        let Some(model) = read(config.model(class)) else { continue };
        assert!(!model.outputs().is_empty());
        assert!(model.operations(config.max_length()).is_finite());
    }
}

/// `model.safetensors`.
pub fn safetensors(data: &[u8]) {
    let folder = folder(&[("model.safetensors", data)]);
    let tensors = read(read_safetensors(folder.path().join("model.safetensors")));
    let Some(tensors) = tensors else { return };
    let bytes = tensors.iter().map(|(_, tensor)| tensor.as_bytes().unwrap().len());
    assert!(bytes.sum::<usize>() <= data.len());
}

/// `model.safetensors.index.json`, beside the one file of tensors `a` and `b`.
pub fn shard_index(data: &[u8]) {
    static SHARD: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let folder = folder(&[]);
        let path = folder.path().join("shard");
        let tensors = ["a", "b"]
            .map(|name| (name.to_owned(), bertscript::Tensor::new([0.5_f32], []).unwrap()));
        write_safetensors(&path, &tensors).unwrap();
        std::fs::read(path).unwrap()
    });
    let index = "model.safetensors.index.json";
    let folder = folder(&[("config.json", b"{}"), (index, data), ("shard", &SHARD)]);
    let checkpoint = read(Checkpoint::open(folder.path())).unwrap();
    let Some(state) = read(checkpoint.state_dict()) else { return };
    assert_eq!(state.names().collect::<Vec<_>>(), ["a", "b"]);
}

/// `pytorch_model.bin`, of a model and of a `Dense`, whose tensors are copied.
pub fn torch_file(data: &[u8]) {
    let folder = folder(&[
        ("config.json", b"{}"),
        ("pytorch_model.bin", data),
        ("modules.json", br#"[{"path": "", "type": ""}, {"path": "2", "type": "Dense"}]"#),
        ("2/pytorch_model.bin", data),
    ]);
    let checkpoint = read(Checkpoint::open(folder.path())).unwrap();
    if let Some(state) = read(checkpoint.state_dict()) {
        let tensors = state.tensors().map(|(name, tensor)| (name.to_owned(), tensor.clone()));
        // Tensors may share what the file has, within limits.
        assert!(size(&tensors.collect::<Vec<_>>()) <= 8 * data.len());
    }
    read(checkpoint.assets());
}

/// The pickle of a `pytorch_model.bin`, with the checksum that it has, beside two
/// storages. It is that of an archive, too.
pub fn pickle(data: &[u8]) {
    let storage = [1; 256];
    let zip = zip(&[
        ("archive/data.pkl", data),
        ("archive/data/0", &storage),
        ("archive/data/1", &storage),
    ]);
    torch_file(&zip);
    archive(&zip);
}

/// A `.pt`. None of its code is loaded: that would be libtorch's to withstand.
pub fn archive(data: &[u8]) {
    let described = read(Archive::from_bytes(data)).flatten();
    if let Some(weights) = read(ArchiveWeights::from_bytes(data)) {
        if let Some(archive) = described {
            read(weights.check_size(archive.metadata()));
        }
        for (name, record) in weights.iter() {
            assert_eq!(weights.get(name), Some(record));
            assert!(record.offset() <= data.len(), "{name} at {}", record.offset());
        }
        mapped(data, &weights);
    }
    let Ok(mut reader) = ArchiveReader::from_bytes(data) else { return };
    for name in reader.records().unwrap_or_default() {
        let _ = reader.record(&name);
    }
}

/// The tensors of an archive, from a file of it: each is read.
fn mapped(data: &[u8], expected: &ArchiveWeights) {
    // Which maps no file.
    if cfg!(miri) {
        return;
    }
    let folder = folder(&[("archive.pt", data)]);
    let file = File::open(folder.path().join("archive.pt")).unwrap();
    let weights = read(ArchiveWeights::from_file(&file)).unwrap();
    assert_eq!(weights, *expected);
    let mapped = Arc::new(MappedFile::new(&file).unwrap());
    // Many may be on the same bytes.
    for (name, record) in weights.iter().take(64) {
        let tensor = read(weights.tensor(&mapped, name)).unwrap();
        let sizes: Vec<_> = tensor.shape().iter().map(|size| *size as i64).collect();
        assert_eq!((&sizes[..], tensor.element_type()), (record.size(), record.element_type()));
        assert!(size(&[(String::new(), tensor)]) <= data.len());
    }
}

/// `bertscript.json`, among what an archive has.
pub fn metadata(data: &[u8]) {
    let archive = |metadata: &[u8]| {
        let archive = zip(&[
            ("bert/constants.pkl", b""),
            ("bert/extra/bertscript.json", metadata),
            ("bert/extra/config.json", b"{}"),
            ("bert/extra/vocab.txt", b"[UNK]"),
        ]);
        read(Archive::from_bytes(&archive)).map(|archive| archive.unwrap())
    };
    let Some(found) = archive(data) else { return };
    let again = archive(&found.metadata().to_json().unwrap()).unwrap();
    assert_eq!(again.metadata(), found.metadata());
    assert_eq!(again.assets(), found.assets());
}

/// `tokenizer.json`, and `tokenizer_config.json`.
pub fn tokenizer_json(data: &[u8]) {
    tokenizer(&assets(data, &["tokenizer.json", "tokenizer_config.json"]));
}

/// `vocab.txt`, and what may stand beside it.
pub fn vocab(data: &[u8]) {
    let names = [
        "vocab.txt",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "sentence_bert_config.json",
        "vocab.json",
        "merges.txt",
    ];
    tokenizer(&assets(data, &names));
}

/// A SentencePiece model, as each class reads it.
pub fn sentencepiece(data: &[u8]) {
    let files = [
        ("XLMRobertaTokenizer", "sentencepiece.bpe.model"),
        ("CamembertTokenizer", "sentencepiece.bpe.model"),
        ("AlbertTokenizer", "spiece.model"),
        ("DebertaV2Tokenizer", "spm.model"),
    ];
    for (class, name) in files {
        let mut assets = Assets::default();
        let config = format!("{{\"tokenizer_class\": \"{class}\"}}");
        assets.insert("tokenizer_config.json", config.into_bytes());
        assets.insert(name, data.to_vec());
        tokenizer(&assets);
    }
}

/// The files of sentence-transformers, from an archive and from a directory.
pub fn modules(data: &[u8]) {
    let names = [
        "modules.json",
        "config_sentence_transformers.json",
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
    ];
    let mut archived = assets(data, &names);
    archived.insert("config.json", br#"{"hidden_size": 32, "num_attention_heads": 4}"#.to_vec());
    pipeline(&archived);
    let files: Vec<_> = archived.iter().collect();
    let folder = folder(&files);
    let Some(checkpoint) = read(Checkpoint::open(folder.path())) else { return };
    let Some(assets) = read(checkpoint.assets()) else { return };
    pipeline(&assets);
}

/// How many bytes tensors have, each of which is read.
fn size(tensors: &[(String, Tensor)]) -> usize {
    read(weights_sha256(tensors));
    tensors.iter().map(|(_, tensor)| tensor.nbytes()).sum()
}

fn pipeline(assets: &Assets) {
    let Some(Some(pipeline)) = read(EmbeddingPipeline::from_assets(assets)) else { return };
    assert!(pipeline.dimension(32) >= 0);
    assert_ne!(pipeline.to_string(), "");
}

fn tokenizer(assets: &Assets) {
    // The library catches those of the tokenizers crate; libFuzzer's own hook would
    // end the process first.
    std::panic::set_hook(Box::new(|panic| {
        if !panic.location().is_some_and(|place| place.file().contains("/tokenizers-")) {
            eprintln!("{panic}");
        }
    }));
    let Some(tokenizer) = read(Tokenizer::from_assets(assets)) else { return };
    let pair =
        Text { text: "the cat [MASK] sat", text_pair: Some("ÀÉ 中文\u{0} ...unaffable") };
    let texts = [Text::from(""), pair, Text::from("the \u{1f600}\u{301}\n[SEP]it's")];
    let cut = EncodeOptions {
        truncation: Truncation::LongestFirst,
        max_length: Some(8),
        stride: 1,
        return_overflowing_tokens: true,
        padding: Padding::Longest,
        details: true,
        ..EncodeOptions::default()
    };
    let literal = EncodeOptions { split_special_tokens: Some(true), ..EncodeOptions::default() };
    // So much text that ids alone are encoded by tables, which are made at once where it is fuzzed;
    // Miri, which would need many minutes for them, encodes tokens only.
    if !cfg!(any(fuzzing, miri)) {
        let blanks = " ".repeat(64 << 10);
        let ids_alone = EncodeOptions { details: false, ..EncodeOptions::default() };
        encode(&tokenizer, &[Text::from(blanks.as_str())], &ids_alone);
    }
    // Several ask libtorch how many threads it has, which Miri cannot call.
    let together = if cfg!(miri) { 1 } else { texts.len() };
    for options in [cut, literal, EncodeOptions::default()] {
        let ids_alone = EncodeOptions { details: false, ..options.clone() };
        for texts in texts.chunks(together) {
            let with_details = encode(&tokenizer, texts, &options);
            if cfg!(miri) {
                continue;
            }
            let alone = encode(&tokenizer, texts, &ids_alone);
            if let (Some(with_details), Some(alone)) = (with_details, alone) {
                assert_eq!(with_details, alone);
            }
        }
    }
}

/// The ids of each window.
fn encode(
    tokenizer: &Tokenizer,
    texts: &[Text<'_>],
    options: &EncodeOptions,
) -> Option<Vec<Vec<i64>>> {
    let encodings = read(tokenizer.encode_batch(texts, options))?;
    for encoding in &encodings {
        let Encoding { input_ids, .. } = encoding;
        assert_eq!(input_ids.len(), encoding.attention_mask.len());
        assert_eq!(input_ids.len(), encoding.token_type_ids.len());
        if options.details {
            details(encoding, &texts[encoding.sample]);
        }
        read(tokenizer.decode(input_ids, true));
    }
    Some(encodings.into_iter().map(|encoding| encoding.input_ids).collect())
}

/// What is told of each token lies in the text.
fn details(encoding: &Encoding, text: &Text<'_>) {
    let length = encoding.input_ids.len();
    assert_eq!(length, encoding.tokens.len());
    assert_eq!(length, encoding.char_offsets.len());
    for ((start, end), sequence) in encoding.offsets.iter().zip(&encoding.sequence_ids) {
        let text = match sequence {
            Some(0) => Some(text.text),
            Some(1) => text.text_pair,
            _ => continue,
        };
        assert!(text.unwrap().get(*start..*end).is_some(), "{start}..{end} of {text:?}");
    }
}

/// What was read, if it was not refused; a refusal says why.
fn read<T>(result: Result<T, Error>) -> Option<T> {
    let error = match result {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    assert_ne!(error.message().trim(), "", "{error:?}");
    let ours = [ErrorKind::Panic, ErrorKind::ForeignException, ErrorKind::OutOfMemory];
    assert!(!ours.contains(&error.kind()), "{error:?}");
    None
}

/// The files that an input is made of; those at its end may be missing.
fn assets(data: &[u8], names: &[&str]) -> Assets {
    let files = data.splitn(names.len(), |byte| *byte == END_OF_FILE);
    names.iter().zip(files).map(|(name, file)| ((*name).to_owned(), file.to_vec())).collect()
}

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = crate::scratch();
    for (name, contents) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(""))).unwrap();
        std::fs::write(path, contents).unwrap();
    }
    folder
}

/// What torch writes: nothing is compressed.
fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, contents) in files {
        zip.start_file(*name, options).unwrap();
        zip.write_all(contents).unwrap();
    }
    zip.finish().unwrap().into_inner()
}
