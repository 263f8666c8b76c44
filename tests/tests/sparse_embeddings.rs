//! Sparse embeddings are those of sentence-transformers' `SparseEncoder`, and each depends on
//! its own text: alone, in any batch, on any number of threads, it has the same bits.

use bertscript::{
    Checkpoint, Device, Dtype, EmbedOptions, EmbedSparseOptions, ErrorKind, LoadOptions, LongTexts,
    Module, PoolingMode, PreTrained, Shapes, SparseEmbeddings,
};
use bertscript_tests::{Execution, fixture, scratch};
use serde_json::Value;
use std::path::Path;

const WORDS: [&str; 8] = ["cat", "dog", "bird", "river", "house", "day", "who is", "unheard-of"];

fn module_of(directory: &Path, options: &LoadOptions) -> Module {
    let checkpoint = Checkpoint::open(directory).unwrap();
    let model = PreTrained::from_checkpoint(&checkpoint, options).unwrap();
    let scratch = scratch();
    let path = scratch.path().join("model.pt");
    model.export(&Shapes::Any, &path).unwrap();
    Module::load(&path, Device::Cpu, None).unwrap()
}

fn module() -> Module {
    module_of(&fixture("text/sparse"), &LoadOptions::default())
}

/// The fixture with another file.
fn changed(file: &str, text: &str) -> Module {
    let (directory, from) = (scratch(), fixture("text/sparse"));
    std::fs::create_dir(directory.path().join("1_SpladePooling")).unwrap();
    let names = ["config_sentence_transformers.json", "modules.json", "sentence_bert_config.json"];
    let of_model = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    for name in names.into_iter().chain(of_model).chain(["1_SpladePooling/config.json"]) {
        std::fs::copy(from.join(name), directory.path().join(name)).unwrap();
    }
    std::fs::write(directory.path().join(file), text).unwrap();
    module_of(directory.path(), &LoadOptions::default())
}

fn pooled(strategy: &str, activation: &str) -> Module {
    let config = format!(
        r#"{{"pooling_strategy": "{strategy}", "activation_function": "{activation}", "chunk_size": 3}}"#
    );
    changed("1_SpladePooling/config.json", &config)
}

/// Texts of no words to more than the model takes, in no order.
fn texts() -> Vec<String> {
    let of_length = |words: usize| {
        let words = WORDS.iter().cycle().skip(words).step_by(1 + words % 3).take(words);
        words.copied().collect::<Vec<_>>().join(" ")
    };
    (0..30).map(|number| of_length(number * 19 % 41)).collect()
}

fn embed(module: &Module, texts: &[String], options: &EmbedSparseOptions) -> SparseEmbeddings {
    module.embed_sparse(texts.iter().map(String::as_str), options).unwrap()
}

type Bits = Vec<(Vec<u32>, Vec<u32>)>;

fn bits(found: &SparseEmbeddings) -> Bits {
    let row = |(indices, values): (&[u32], &[f32])| {
        (indices.to_vec(), values.iter().map(|value| value.to_bits()).collect())
    };
    found.rows().map(row).collect()
}

/// Every value, zeros too.
fn dense(found: &SparseEmbeddings) -> Vec<f32> {
    let mut all = vec![0.; found.len() * found.width()];
    for (row, (indices, values)) in all.chunks_mut(found.width()).zip(found.rows()) {
        assert!(indices.is_sorted_by(|a, b| a < b));
        indices.iter().zip(values).for_each(|(index, value)| row[*index as usize] = *value);
    }
    all
}

#[test]
fn embeddings_equal_sentence_transformers() {
    let text = std::fs::read(fixture("text/sparse/expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&text).unwrap();
    let texts: Vec<_> = expected["texts"].as_array().unwrap().iter().map(Value::as_str).collect();
    let module = module();
    for execution in [Execution::Unpadded, Execution::TorchScript] {
        let module = execution.of(&module).unwrap();
        let cases = [("document", None, None), ("query", Some("query"), None)];
        for (name, prompt_name, max_active_dims) in
            cases.into_iter().chain([("top", None, Some(7))])
        {
            let options = EmbedSparseOptions {
                prompt_name: prompt_name.map(str::to_owned),
                max_active_dims,
                ..EmbedSparseOptions::default()
            };
            let found = module.embed_sparse(texts.iter().flatten().copied(), &options).unwrap();
            let rows = expected[name].as_array().unwrap();
            assert_eq!((found.len(), found.width()), (rows.len(), 128));
            assert_eq!(found.offsets().last(), Some(&found.values().len()));
            for (number, (indices, values)) in found.rows().enumerate() {
                let what = format!("{execution}, {name} of {number}");
                let wanted = |part: usize| rows[number][part].as_array().unwrap().iter();
                let wanted_indices: Vec<_> = wanted(0).map(|i| i.as_u64().unwrap()).collect();
                assert!(indices.iter().map(|i| u64::from(*i)).eq(wanted_indices), "{what}");
                for (value, wanted) in values.iter().zip(wanted(1)) {
                    let apart = (f64::from(*value) - wanted.as_f64().unwrap()).abs();
                    assert!(apart <= 1e-5, "{what}: {value} {wanted}");
                }
            }
            // The last is longer than the model takes.
            assert_eq!(found.truncated(), [7]);
        }
    }
}

/// In one test, since the number of threads is the process's.
#[test]
fn an_embedding_depends_on_its_text_alone() {
    let texts = texts();
    let options = EmbedSparseOptions::default();
    for strategy in ["max", "sum"] {
        for dtype in [Dtype::F32, Dtype::BF16] {
            let module = pooled(strategy, "relu").to(None, Some(dtype)).unwrap();
            for execution in [Execution::Unpadded, Execution::Int8] {
                let module = execution.of(&module).unwrap();
                bertscript::set_thread_count(1);
                let all = bits(&embed(&module, &texts, &options));
                let different: std::collections::BTreeSet<_> = all.iter().collect();
                assert!(different.len() > 20, "{} embeddings", different.len());
                for threads in [1, 2, 3] {
                    bertscript::set_thread_count(threads);
                    let what = format!("{strategy}, {execution} of {dtype:?}, {threads} threads");
                    for batch_tokens in [1, 100, 4096] {
                        let batch_tokens = Some(batch_tokens);
                        let options = EmbedSparseOptions { batch_tokens, ..options.clone() };
                        let found = bits(&embed(&module, &texts, &options));
                        assert!(found == all, "{what}, batches of {batch_tokens:?}");
                    }
                    for few in [1, 7] {
                        for (number, texts) in texts.chunks(few).enumerate() {
                            let expected = &all[number * few..][..texts.len()];
                            let found = bits(&embed(&module, texts, &options));
                            assert!(found == expected, "{what}: {texts:?} by themselves");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn engines_agree() {
    for (strategy, activation) in [("max", "log1p_relu"), ("sum", "relu"), ("sum", "log1p_relu")] {
        let module = pooled(strategy, activation);
        for long_texts in [LongTexts::Truncate, LongTexts::Window] {
            let options = EmbedSparseOptions { long_texts, ..EmbedSparseOptions::default() };
            let by = |execution: Execution| {
                dense(&embed(&execution.of(&module).unwrap(), &texts(), &options))
            };
            let (unpadded, by_code) = (by(Execution::Unpadded), by(Execution::TorchScript));
            let apart = unpadded.iter().zip(&by_code).map(|(a, b)| (a - b).abs());
            let apart = apart.fold(0., f32::max);
            assert!(apart < 1e-5, "{strategy} {activation} {long_texts:?}: {apart}");
            assert!(by_code.iter().filter(|value| **value > 0.1).count() > 300);
        }
    }
}

/// Windows are pooled as their tokens are.
#[test]
fn windows_are_brought_together() {
    let long = "the day and the night ".repeat(20);
    let windows = EmbedSparseOptions { long_texts: LongTexts::Window, ..Default::default() };
    for strategy in ["max", "sum"] {
        let module = pooled(strategy, "relu");
        let tokens = long.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>();
        // Words of one token each, and two special tokens a window.
        let parts: Vec<_> = tokens.chunks(30).map(|words| words.join(" ")).collect();
        assert!(parts.len() > 3);
        let parts = embed(&module, &parts, &EmbedSparseOptions::default());
        let mut expected = vec![0_f32; parts.width()];
        for row in dense(&parts).chunks(parts.width()) {
            for (all, value) in expected.iter_mut().zip(row) {
                *all = if strategy == "max" { all.max(*value) } else { *all + value };
            }
        }
        let found = embed(&module, std::slice::from_ref(&long), &windows);
        assert_eq!(dense(&found), expected, "{strategy}");
        assert!(found.truncated().is_empty());
        // The largest of all windows are kept, not of each.
        let max_active_dims = Some(5);
        let options = EmbedSparseOptions { max_active_dims, ..windows.clone() };
        let few = embed(&module, std::slice::from_ref(&long), &options);
        let mut largest: Vec<_> = (0..expected.len()).collect();
        largest.sort_by(|a, b| expected[*b].total_cmp(&expected[*a]).then(a.cmp(b)));
        largest.truncate(5);
        largest.sort_unstable();
        assert!(few.indices().iter().map(|index| *index as usize).eq(largest));
    }
}

#[test]
fn the_file_says_how_many_dimensions_are_kept() {
    let settings = r#"{"model_type": "SparseEncoder", "max_active_dims": 4}"#;
    let module = changed("config_sentence_transformers.json", settings);
    let sizes = |max_active_dims| {
        let options = EmbedSparseOptions { max_active_dims, ..EmbedSparseOptions::default() };
        module.embed_sparse(["the cat"], &options).map(|found| found.values().len())
    };
    assert_eq!((sizes(None).unwrap(), sizes(Some(9)).unwrap()), (4, 9));
    let error = sizes(Some(0)).unwrap_err();
    assert_eq!(error.to_string(), "max_active_dims: found 0, expected at least 1");
    let none = module.embed_sparse([""; 0], &EmbedSparseOptions::default()).unwrap();
    assert_eq!((none.len(), none.width(), none.offsets()), (0, 128, &[0][..]));
}

#[test]
fn what_a_file_does_not_make_is_refused_by_name() {
    let refused = |error: bertscript::Error| {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        error.to_string()
    };
    let sparse = |module: &Module| {
        refused(module.embed_sparse(["cat"], &EmbedSparseOptions::default()).unwrap_err())
    };
    let dense = |module: &Module, pooling| {
        let options = EmbedOptions { pooling, ..EmbedOptions::default() };
        refused(module.embed(["cat"], &options).unwrap_err())
    };
    let module = module();
    assert_eq!(
        dense(&module, None),
        "embed makes dense embeddings, but the file makes sparse ones (SPLADE max pooling, relu); embed_sparse makes them"
    );
    assert_eq!(
        dense(&module, Some(vec![PoolingMode::Mean])),
        "embed needs BertModel, but the file is a BertForMaskedLM"
    );
    let sentence = module_of(&fixture("text/sentence"), &LoadOptions::default());
    assert_eq!(
        sparse(&sentence),
        "embed_sparse needs SpladePooling, but the file makes dense embeddings (mean + cls pooling, Dense, Normalize); embed makes them"
    );
    let masked = module_of(&fixture("text/masked"), &LoadOptions::default());
    assert_eq!(
        sparse(&masked),
        "embed_sparse needs SpladePooling, but the file has no sentence-transformers pipeline (modules.json)"
    );
    let architecture = Some(bertscript_tests::architecture("BertModel"));
    let random_init = Some(1);
    let options = LoadOptions { architecture, random_init, ..LoadOptions::default() };
    let headless = sparse(&module_of(&fixture("text/sparse"), &options));
    assert!(headless.ends_with("but the file is a BertModel"), "{headless}");
}

#[test]
fn a_recipe_that_is_not_splade_is_refused() {
    let refused = |file: &str, text: &str| {
        let module = changed(file, text);
        let error = module.embed_sparse(["cat"], &EmbedSparseOptions::default()).unwrap_err();
        error.to_string()
    };
    let task = refused(
        "sentence_bert_config.json",
        r#"{"max_seq_length": 32, "transformer_task": "feature-extraction"}"#,
    );
    assert!(task.contains("SpladePooling after a Transformer that gives no logits"), "{task}");
    let pooling = |text| refused("1_SpladePooling/config.json", text);
    assert!(pooling(r#"{"pooling_strategy": "mean"}"#).contains("mean"));
    assert!(pooling(r#"{"activation_function": "gelu"}"#).contains("gelu"));
    assert!(pooling(r#"{"other": 1}"#).contains("other: unknown"));
    let entry = |path: &str, class: &str| {
        format!(r#"{{"path": "{path}", "type": "sentence_transformers.models.{class}"}}"#)
    };
    let modules = |entries: &[String]| format!("[{}]", entries.join(", "));
    let [model, splade] = [entry("", "MLMTransformer"), entry("1_SpladePooling", "SpladePooling")];
    let more = modules(&[model.clone(), splade.clone(), entry("2", "Normalize")]);
    assert_eq!(
        refused("modules.json", &more),
        "modules.json: found MLMTransformer, SpladePooling, Normalize, expected a model and SpladePooling alone"
    );
    // As sentence-transformers 5 wrote it.
    let old = changed("modules.json", &modules(&[model, splade]));
    let options = EmbedSparseOptions::default();
    let expected = bits(&embed(&module(), &texts(), &options));
    assert_eq!(bits(&embed(&old, &texts(), &options)), expected);
}
