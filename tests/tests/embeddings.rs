//! An embedding depends on its own text: alone, in any batch, on any number of
//! threads, it has the same bits.

use bertscript::{
    Checkpoint, Device, Dtype, EmbedOptions, LoadOptions, LongTexts, Module, PoolingMode,
    PreTrained, Shapes, Tensor,
};
use bertscript_tests::{Execution, architecture, fixture, scratch, torch};

const WORDS: [&str; 8] = ["cat", "dog", "bird", "river", "house", "day", "who is", "unheard-of"];

/// A module of a checkpoint.
fn export(checkpoint: &Checkpoint, options: &LoadOptions, dtype: Dtype) -> Module {
    let model = PreTrained::from_checkpoint(checkpoint, options).unwrap();
    let scratch = scratch();
    let path = scratch.path().join("model.pt");
    model.export(&Shapes::Any, &path).unwrap();
    Module::load(&path, Device::Cpu, Some(dtype)).unwrap()
}

/// A model so wide that threads share the work on one text, without a pipeline.
fn wide(dtype: Dtype) -> Module {
    let directory = scratch();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        let from = fixture("text/sentence").join(name);
        std::fs::copy(from, directory.path().join(name)).unwrap();
    }
    let config = r#"{"vocab_size": 128, "hidden_size": 192, "num_hidden_layers": 2,
        "num_attention_heads": 6, "intermediate_size": 768, "initializer_range": 0.2}"#;
    std::fs::write(directory.path().join("config.json"), config).unwrap();
    let options = LoadOptions {
        architecture: Some(architecture("BertModel")),
        random_init: Some(1),
        ..LoadOptions::default()
    };
    export(&Checkpoint::open(directory.path()).unwrap(), &options, dtype)
}

/// Texts of no words to more than the model takes, in no order.
fn texts() -> Vec<String> {
    let of_length = |words: usize| {
        let words = WORDS.iter().cycle().skip(words).step_by(1 + words % 3).take(words);
        words.copied().collect::<Vec<_>>().join(" ")
    };
    (0..30).map(|number| of_length(number * 19 % 41)).collect()
}

fn embed(module: &Module, texts: &[String], options: &EmbedOptions) -> Vec<Vec<u32>> {
    let found = module.embed(texts, options).unwrap();
    found.rows().map(|row| row.iter().map(|value| value.to_bits()).collect()).collect()
}

fn check(what: &str, module: &Module, options: &EmbedOptions) {
    let texts = texts();
    bertscript::set_thread_count(1);
    let all = embed(module, &texts, options);
    let different: std::collections::BTreeSet<_> = all.iter().collect();
    assert!(different.len() > 20, "{what}: {} embeddings", different.len());
    for threads in [1, 2, 3] {
        bertscript::set_thread_count(threads);
        for batch_tokens in [1, 100, 4096] {
            let found = embed(
                module,
                &texts,
                &EmbedOptions { batch_tokens: Some(batch_tokens), ..options.clone() },
            );
            assert!(found == all, "{what}: {threads} threads, batches of {batch_tokens}");
        }
        for few in [1, 2, 7] {
            for (number, texts) in texts.chunks(few).enumerate() {
                let expected = &all[number * few..][..texts.len()];
                let found = embed(module, texts, options);
                assert!(found == expected, "{what}: {threads} threads, {texts:?} by themselves");
            }
        }
    }
}

/// In one test, since the number of threads is the process's.
#[test]
fn an_embedding_depends_on_its_text_alone() {
    let poolings = [
        PoolingMode::ALL.to_vec(),
        vec![PoolingMode::Cls],
        vec![PoolingMode::LastToken, PoolingMode::Cls, PoolingMode::LastToken],
    ];
    for dtype in [Dtype::F32, Dtype::BF16] {
        let module = wide(dtype);
        for execution in [Execution::Unpadded, Execution::Int8] {
            let module = execution.of(&module).unwrap();
            for pooling in &poolings {
                let what = format!("{execution} of {dtype:?}, {pooling:?}");
                let pooling = Some(pooling.clone());
                check(&what, &module, &EmbedOptions { pooling, ..EmbedOptions::default() });
            }
        }
    }
    // The pipeline leaves the prompt out, and has a Dense and a Normalize.
    let checkpoint = Checkpoint::open(fixture("text/sentence")).unwrap();
    let module = export(&checkpoint, &LoadOptions::default(), Dtype::F32);
    for long_texts in [LongTexts::Truncate, LongTexts::Window] {
        let prompt_name = Some("query".to_owned());
        let options = EmbedOptions { prompt_name, long_texts, ..EmbedOptions::default() };
        check(&format!("a pipeline, {long_texts:?}"), &module, &options);
    }
    check("every module", &every_module(), &EmbedOptions::default());
}

/// A copy of the fixture with a pipeline.
fn sentence() -> tempfile::TempDir {
    let directory = scratch();
    let from = fixture("text/sentence");
    for folder in ["", "1_Pooling", "2_Dense", "3_Normalize"] {
        std::fs::create_dir_all(directory.path().join(folder)).unwrap();
        for entry in std::fs::read_dir(from.join(folder)).unwrap() {
            let file = entry.unwrap().path();
            if file.is_file() {
                let name = std::path::Path::new(folder).join(file.file_name().unwrap());
                std::fs::copy(file, directory.path().join(name)).unwrap();
            }
        }
    }
    directory
}

/// Modules of tokens and of texts, by each engine.
fn every_module() -> Module {
    let directory = sentence();
    let modules: Vec<_> = [
        ("", "Transformer", "", 0),
        ("a", "Normalize", r#"{"module_input_name": "token_embeddings"}"#, 0),
        (
            "b",
            "Dense",
            r#"{"in_features": 32, "out_features": 48,
            "module_input_name": "token_embeddings", "use_residual": true,
            "activation_function": "torch.nn.modules.activation.Mish"}"#,
            32,
        ),
        (
            "c",
            "Pooling",
            r#"{"embedding_dimension": 48, "pooling_mode": ["mean", "cls", "max"],
            "include_prompt": false}"#,
            0,
        ),
        ("d", "LayerNorm", r#"{"dimension": 144}"#, 144),
        (
            "e",
            "Dense",
            r#"{"in_features": 144, "out_features": 24,
            "activation_function": "torch.nn.modules.activation.Softmax"}"#,
            144,
        ),
    ]
    .map(|(path, class, config, inputs)| {
        let folder = directory.path().join(path);
        if !path.is_empty() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("config.json"), config).unwrap();
        }
        let random = |name: &str, shape: &[i64]| {
            let values = tch::Tensor::randn(shape, (tch::Kind::Float, tch::Device::Cpu));
            (name.to_owned(), (values * 0.3).try_into().unwrap())
        };
        let tensors = match (class, inputs) {
            ("LayerNorm", width) => {
                vec![random("norm.weight", &[width]), random("norm.bias", &[width])]
            }
            ("Dense", 32) => vec![
                random("linear.weight", &[48, 32]),
                random("linear.bias", &[48]),
                random("residual.weight", &[48, 32]),
            ],
            ("Dense", _) => vec![random("linear.weight", &[24, 144]), random("linear.bias", &[24])],
            _ => Vec::new(),
        };
        if !tensors.is_empty() {
            bertscript::write_safetensors(folder.join("model.safetensors"), &tensors).unwrap();
        }
        format!(r#"{{"path": "{path}", "type": "sentence_transformers.models.{class}"}}"#)
    })
    .into();
    let modules = format!("[{}]", modules.join(", "));
    std::fs::write(directory.path().join("modules.json"), modules).unwrap();
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    export(&checkpoint, &LoadOptions::default(), Dtype::F32)
}

#[test]
fn engines_agree_on_modules_of_tokens_and_texts() {
    let module = every_module();
    let prompt_name = Some("query".to_owned());
    for long_texts in [LongTexts::Truncate, LongTexts::Window] {
        let options =
            EmbedOptions { prompt_name: prompt_name.clone(), long_texts, ..Default::default() };
        let outputs_of = |execution: Execution| {
            let module = execution.of(&module).unwrap();
            torch(module.embed(&texts(), &options).unwrap().tensor())
        };
        let (unpadded, by_code) =
            (outputs_of(Execution::Unpadded), outputs_of(Execution::TorchScript));
        assert_eq!(unpadded.size(), [30, 24]);
        let apart = (unpadded - &by_code).abs().max().double_value(&[]);
        assert!(apart < 1e-5, "{long_texts:?}: {apart}");
        let spread = by_code.std_dim(0, true, false).max().double_value(&[]);
        assert!(spread > 1e-2, "{spread}");
    }
}

/// What stands behind the model is data of a stranger's, too.
#[test]
fn a_pipeline_that_does_not_fit_is_refused() {
    let options = (tch::Kind::Float, tch::Device::Cpu);
    let zeros = |shape: &[i64]| Tensor::try_from(tch::Tensor::zeros(shape, options)).unwrap();
    let refused = |change: &dyn Fn(&std::path::Path)| {
        let directory = sentence();
        change(directory.path());
        let checkpoint = Checkpoint::open(directory.path()).unwrap();
        let model = PreTrained::from_checkpoint(&checkpoint, &LoadOptions::default()).unwrap();
        let path = directory.path().join("model.pt");
        model.export(&Shapes::Any, &path).unwrap();
        let module = Module::load(&path, Device::Cpu, None).unwrap();
        module.embed(["cat"], &EmbedOptions::default()).unwrap_err().to_string()
    };
    let dense = |weight: &[i64], bias: &[i64]| {
        let named = [("linear.weight", zeros(weight)), ("linear.bias", zeros(bias))];
        refused(&|directory| {
            let file = directory.join("2_Dense/model.safetensors");
            let named = named.each_ref().map(|(name, tensor)| (name.to_string(), tensor.clone()));
            bertscript::write_safetensors(&file, &named).unwrap();
        })
    };
    assert!(dense(&[16, 64], &[15]).ends_with("linear.bias: found shape [15], expected [16]"));
    assert!(dense(&[16], &[16]).ends_with("linear.weight: found shape [16], expected [16, 64]"));
    let written = |name: &str, text: &str| {
        refused(&|directory| std::fs::write(directory.join(name), text).unwrap())
    };
    let wide = written("2_Dense/config.json", r#"{"in_features": 63, "out_features": 16}"#);
    assert!(wide.ends_with("linear.weight: found shape [16, 64], expected [16, 63]"), "{wide}");
    let narrow =
        written("1_Pooling/config.json", r#"{"embedding_dimension": 32, "pooling_mode": "mean"}"#);
    let expected = "modules.json: Dense: found embeddings of width 32, expected 64";
    assert_eq!(narrow, expected);
    let unknown = written("1_Pooling/config.json", r#"{"embedding_dimension": 32, "mode": "cls"}"#);
    assert!(unknown.contains("1_Pooling/config.json: mode: unknown"), "{unknown}");
    let modules = |from: &str, to: &str| {
        refused(&|directory| {
            let file = directory.join("modules.json");
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.contains(from));
            std::fs::write(file, text.replace(from, to)).unwrap();
        })
    };
    let unpooled =
        modules("sentence_transformer.modules.pooling.Pooling", "base.modules.normalize.Normalize");
    assert_eq!(unpooled, "modules.json: found a Dense before any Pooling");
    let none = refused(&|directory| {
        let file = directory.join("1_Pooling/config.json");
        std::fs::write(file, r#"{"embedding_dimension": 32, "pooling_mode": []}"#).unwrap();
    });
    assert!(none.ends_with("pooling_mode: found no mode, expected at least one"), "{none}");
    let pooling = Some(Vec::new());
    let options = EmbedOptions { pooling, ..Default::default() };
    let checkpoint = Checkpoint::open(fixture("text/sentence")).unwrap();
    let module = export(&checkpoint, &LoadOptions::default(), Dtype::F32);
    let error = module.embed(["cat"], &options).unwrap_err();
    assert_eq!(error.to_string(), "pooling: found no mode");
}
