//! An embedding depends on its own text: alone, in any batch, on any number of
//! threads, it has the same bits.

use bertscript::{
    Architecture, Checkpoint, Device, Dtype, EmbedOptions, LoadOptions, LongTexts, Module, Plan,
    PoolingMode, PreTrained,
};
use bertscript_tests::{fixture, scratch};

const WORDS: [&str; 8] = ["cat", "dog", "bird", "river", "house", "day", "who is", "unheard-of"];

/// A module of a checkpoint.
fn export(checkpoint: &Checkpoint, options: &LoadOptions, dtype: Dtype) -> Module {
    let model = PreTrained::from_checkpoint(checkpoint, options).unwrap();
    let scratch = scratch();
    let path = scratch.path().join("model.pt");
    bertscript::export(&model, checkpoint, &[], &path).unwrap();
    Module::load(&path, Device::Cpu, Some(dtype)).unwrap()
}

/// A model so wide that threads share the work on one text, without a recipe.
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
        architecture: Some(Architecture::BertModel),
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
    let values = module.embed(texts, options).unwrap().values;
    let rows = Vec::<Vec<f32>>::try_from(&values).unwrap();
    rows.iter().map(|row| row.iter().map(|value| value.to_bits()).collect()).collect()
}

fn check(what: &str, module: &Module, options: &EmbedOptions) {
    let texts = texts();
    tch::set_num_threads(1);
    let all = embed(module, &texts, options);
    let different: std::collections::BTreeSet<_> = all.iter().collect();
    assert!(different.len() > 20, "{what}: {} embeddings", different.len());
    for threads in [1, 2, 3] {
        tch::set_num_threads(threads);
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
        for plan in [Plan::Packed, Plan::PackedInt8] {
            let module = module.with_plan(plan).unwrap();
            for pooling in &poolings {
                let what = format!("{plan} of {dtype:?}, {pooling:?}");
                let pooling = Some(pooling.clone());
                check(&what, &module, &EmbedOptions { pooling, ..EmbedOptions::default() });
            }
        }
    }
    // The recipe leaves the prompt out, and has a Dense and a Normalize.
    let checkpoint = Checkpoint::open(&fixture("text/sentence")).unwrap();
    let module = export(&checkpoint, &LoadOptions::default(), Dtype::F32);
    for long_texts in [LongTexts::Truncate, LongTexts::Window] {
        let prompt_name = Some("query".to_owned());
        let options = EmbedOptions { prompt_name, long_texts, ..EmbedOptions::default() };
        check(&format!("a recipe, {long_texts:?}"), &module, &options);
    }
}

/// What stands behind the model is data of a stranger's, too.
#[test]
fn a_recipe_that_does_not_fit_is_refused() {
    let options = (tch::Kind::Float, tch::Device::Cpu);
    let zeros = |shape: &[i64]| tch::Tensor::zeros(shape, options);
    let refused = |change: &dyn Fn(&std::path::Path)| {
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
        change(directory.path());
        let checkpoint = Checkpoint::open(directory.path()).unwrap();
        let model = PreTrained::from_checkpoint(&checkpoint, &LoadOptions::default()).unwrap();
        let path = directory.path().join("model.pt");
        bertscript::export(&model, &checkpoint, &[], &path).unwrap();
        let module = Module::load(&path, Device::Cpu, None).unwrap();
        module.embed(["cat"], &EmbedOptions::default()).unwrap_err().to_string()
    };
    let dense = |weight: &[i64], bias: &[i64]| {
        let named = [("linear.weight", zeros(weight)), ("linear.bias", zeros(bias))];
        refused(&|directory| {
            let file = directory.join("2_Dense/model.safetensors");
            let named = named.each_ref().map(|(name, tensor)| (name.to_string(), tensor.copy()));
            bertscript::write_safetensors(&file, &named).unwrap();
        })
    };
    assert!(dense(&[16, 64], &[15]).ends_with("linear.bias: found shape [15], expected [16]"));
    assert!(
        dense(&[16], &[16])
            .ends_with("linear.weight: found shape [16], expected two dimensions of at least 1")
    );
    assert_eq!(dense(&[16, 63], &[16]), "Dense: found embeddings of width 64, expected 63");
    let modules = |from: &str, to: &str| {
        refused(&|directory| {
            let file = directory.join("modules.json");
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.contains(from));
            std::fs::write(file, text.replace(from, to)).unwrap();
        })
    };
    let twice = modules("base.modules.normalize.Normalize", "modules.pooling.Pooling");
    assert!(twice.ends_with("only the first module after the model pools"), "{twice}");
    let none = refused(&|directory| {
        let file = directory.join("1_Pooling/config.json");
        std::fs::write(file, r#"{"pooling_mode": []}"#).unwrap();
    });
    assert!(none.ends_with("pooling_mode: found no mode, expected at least one"), "{none}");
    let pooling = Some(Vec::new());
    let options = EmbedOptions { pooling, ..Default::default() };
    let checkpoint = Checkpoint::open(&fixture("text/sentence")).unwrap();
    let module = export(&checkpoint, &LoadOptions::default(), Dtype::F32);
    let error = module.embed(["cat"], &options).unwrap_err();
    assert_eq!(error.to_string(), "pooling: found no mode");
}
