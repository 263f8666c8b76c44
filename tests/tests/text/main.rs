//! Text in: tokens, and answers, equal to those of the oracles.

mod ranking;
mod zero_shot;

use bertscript::{
    AggregationStrategy, Checkpoint, ClassifyOptions, Device, EmbedOptions, EncodeOptions,
    EntitiesOptions, ErrorKind, FillMaskOptions, Inputs, LoadOptions, LongTexts, Module, Padding,
    PoolingMode, PreTrained, Shapes, Tensor, Text, Tokenizer, Truncation,
};
use bertscript_tests::{fixture, scratch, torch};
use serde_json::Value;
use std::path::Path;

/// What the oracle said of a fixture.
fn expected(name: &str) -> Value {
    let text = std::fs::read(fixture("text").join(name).join("expected.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// The file that is exported from a fixture, loaded from a folder of its own.
fn module(name: &str) -> Module {
    module_of(&fixture("text").join(name))
}

/// The same of any checkpoint.
fn module_of(directory: &Path) -> Module {
    let checkpoint = Checkpoint::open(directory).unwrap();
    let model = PreTrained::from_checkpoint(&checkpoint, &LoadOptions::default()).unwrap();
    let scratch = scratch();
    let path = scratch.path().join("alone.pt");
    model.export(&Shapes::Any, &path).unwrap();
    Module::load(&path, Device::Cpu, None).unwrap()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn assert_close(found: f64, expected: &Value) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= 1e-5, "{found} {expected}");
}

#[test]
fn tokens_equal_transformers() {
    let checkpoint = Checkpoint::open(fixture("text/masked")).unwrap();
    let tokenizer = Tokenizer::from_assets(&checkpoint.assets().unwrap()).unwrap();
    assert_eq!(tokenizer.max_length(), 32);
    for case in expected("masked")["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let options = match name {
            "longest_first" => EncodeOptions {
                truncation: Truncation::LongestFirst,
                max_length: Some(12),
                ..EncodeOptions::default()
            },
            "windows" => EncodeOptions {
                truncation: Truncation::LongestFirst,
                max_length: Some(9),
                stride: 3,
                return_overflowing_tokens: true,
                ..EncodeOptions::default()
            },
            "padded" => EncodeOptions {
                padding: Padding::Longest,
                pad_to_multiple_of: Some(8),
                ..EncodeOptions::default()
            },
            "split" => EncodeOptions {
                split_special_tokens: Some(true),
                add_special_tokens: false,
                ..EncodeOptions::default()
            },
            _ => EncodeOptions::default(),
        };
        let texts: Vec<_> = case["texts"].as_array().unwrap().iter().collect();
        let texts: Vec<Text> = texts
            .iter()
            .map(|text| match text {
                Value::Array(pair) => (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()).into(),
                text => text.as_str().unwrap().into(),
            })
            .collect();
        let found = tokenizer.encode_batch(&texts, &options).unwrap();
        for (key, values) in [
            ("input_ids", found.iter().map(|e| serde_json::json!(e.input_ids)).collect()),
            ("token_type_ids", found.iter().map(|e| serde_json::json!(e.token_type_ids)).collect()),
            ("attention_mask", found.iter().map(|e| serde_json::json!(e.attention_mask)).collect()),
            (
                "special_tokens_mask",
                found.iter().map(|e| serde_json::json!(e.special_tokens_mask)).collect(),
            ),
            ("offset_mapping", found.iter().map(|e| serde_json::json!(e.char_offsets)).collect()),
        ] {
            assert_eq!(Value::Array(values), case[key], "{name}: {key}");
        }
        for encoding in found {
            let text = texts[encoding.sample];
            let parts = [text.text, text.text_pair.unwrap_or_default()];
            for token in 0..encoding.len() {
                let Some(sequence) = encoding.sequence_ids[token] else { continue };
                let (start, end) = encoding.offsets[token];
                let (first, last) = encoding.char_offsets[token];
                let by_chars = parts[sequence].chars().skip(first).take(last - first);
                assert_eq!(parts[sequence][start..end], by_chars.collect::<String>());
            }
        }
    }
}

#[test]
fn embeddings_equal_sentence_transformers() {
    let module = module("sentence");
    let expected = expected("sentence");
    let texts = strings(&expected["texts"]);
    for prompt in ["query", "document"] {
        for batch_tokens in [1, 64, 4096] {
            let options = EmbedOptions {
                prompt_name: Some(prompt.to_owned()),
                batch_tokens: Some(batch_tokens),
                ..EmbedOptions::default()
            };
            let found = module.embed(&texts, &options).unwrap();
            assert_eq!(found.truncated(), [texts.len() - 1]);
            for (row, expected) in found.rows().zip(expected[prompt].as_array().unwrap()) {
                assert_eq!(row.len(), expected.as_array().unwrap().len());
                for (value, expected) in row.iter().zip(expected.as_array().unwrap()) {
                    assert_close(f64::from(*value), expected);
                }
            }
        }
    }
}

#[test]
fn embedding_says_what_it_lacks() {
    let module = module("sentence");
    let refused = |options: EmbedOptions| module.embed(["a"], &options).unwrap_err();
    let error = refused(EmbedOptions { prompt_name: Some("x".to_owned()), ..Default::default() });
    assert_eq!(
        error.to_string(),
        "prompt_name: the file has no prompt \"x\", expected one of: document, query"
    );
    let error = refused(EmbedOptions { truncate_dim: Some(17), ..Default::default() });
    assert_eq!(error.to_string(), "truncate_dim: found 17, expected 1 to 16");
    let refuse = EmbedOptions { long_texts: LongTexts::Refuse, ..Default::default() };
    let long = "day ".repeat(40);
    let error = module.embed(["a", &long], &refuse).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(error.to_string(), "text 1: found 42 tokens, expected at most 32");
    let cancelled = EmbedOptions::default();
    cancelled.cancel.cancel();
    assert_eq!(refused(cancelled).kind(), ErrorKind::Cancelled);
    // And the module still works.
    assert_eq!(module.embed(["a"], &EmbedOptions::default()).unwrap().row(0).len(), 16);
    let none = module.embed([""; 0], &EmbedOptions::default()).unwrap();
    assert_eq!((none.len(), none.width(), none.tensor().shape()), (0, 16, &[0, 16][..]));
}

#[test]
fn windows_are_averaged() {
    let module = module("sentence");
    let pooling = Some(vec![PoolingMode::Mean]);
    let options = EmbedOptions {
        pooling,
        long_texts: LongTexts::Window,
        prompt: Some(String::new()),
        ..Default::default()
    };
    // Windows of 30 tokens between [CLS] and [SEP], one text alone each time.
    let words: Vec<_> = "cat dog bird river house".split(' ').cycle().take(70).collect();
    let whole = module.embed([words.join(" ").as_str()], &options).unwrap();
    assert!(whole.truncated().is_empty());
    let mut mean = tch::Tensor::zeros([32], (tch::Kind::Float, tch::Device::Cpu));
    for window in words.chunks(30) {
        let alone = module.embed([window.join(" ").as_str()], &options).unwrap();
        let alone = torch(alone.tensor()).get(0);
        mean += alone * (window.len() as f64 + 2.) / (70. + 6.);
    }
    let difference = (torch(whole.tensor()).get(0) - mean).abs().max().double_value(&[]);
    assert!(difference <= 1e-6, "{difference}");
}

#[test]
fn only_the_first_window_begins_with_the_prompt() {
    let module = module("sentence");
    let embed = |texts: &[&str], prompt: &str| {
        let options = EmbedOptions {
            prompt: Some(prompt.to_owned()),
            long_texts: LongTexts::Window,
            ..Default::default()
        };
        torch(module.embed(texts.iter().copied(), &options).unwrap().tensor())
    };
    // The prompt is two tokens and is left out of the pooling, so that a window
    // without it must keep its first two.
    let words = ["cat", "dog", "bird", "river", "house"];
    let words: Vec<_> = words.into_iter().cycle().take(50).collect();
    let whole = embed(&[&words.join(" ")], "who is ");
    let first = embed(&[&words[..28].join(" ")], "who is ").get(0);
    let second = embed(&[&words[28..].join(" ")], "").get(0);
    let mean = (first * 32. + second * 24.) / 56.;
    let mean = &mean / mean.norm();
    let difference = (whole.get(0) - mean).abs().max().double_value(&[]);
    assert!(difference <= 1e-6, "{difference}");
}

#[test]
fn labels_equal_the_pipeline() {
    for name in ["classify-single", "classify-multi"] {
        let module = module(name);
        let expected = expected(name);
        let texts = strings(&expected["texts"]);
        let found = module.classify(&texts, &ClassifyOptions::default()).unwrap();
        for (found, expected) in found.iter().zip(expected["labels"].as_array().unwrap()) {
            let expected = expected.as_array().unwrap();
            assert_eq!(found.labels.len(), expected.len());
            for (found, expected) in found.labels.iter().zip(expected) {
                assert_eq!(found.label, expected["label"]);
                assert_close(f64::from(found.score), &expected["score"]);
            }
        }
        // The last text is longer than the model takes.
        let truncated: Vec<_> = found.iter().map(|found| found.truncated).collect();
        assert_eq!(truncated.iter().position(|cut| *cut), Some(texts.len() - 1));
    }
}

#[test]
fn entities_equal_the_pipeline() {
    let module = module("entities");
    let expected = expected("entities");
    let texts = strings(&expected["texts"]);
    for (name, aggregation_strategy) in [
        ("none", AggregationStrategy::None),
        ("simple", AggregationStrategy::Simple),
        ("first", AggregationStrategy::First),
        ("average", AggregationStrategy::Average),
        ("max", AggregationStrategy::Max),
        ("windows", AggregationStrategy::First),
    ] {
        let mut options = EntitiesOptions { aggregation_strategy, ..Default::default() };
        if name == "windows" {
            (options.long_texts, options.stride) = (LongTexts::Window, 8);
        }
        let found = module.entities(&texts, &options).unwrap();
        for ((found, expected), text) in
            found.iter().zip(expected[name].as_array().unwrap()).zip(&texts)
        {
            let expected = expected.as_array().unwrap();
            assert_eq!(found.entities.len(), expected.len(), "{name}: {text}");
            for (found, expected) in found.entities.iter().zip(expected) {
                let entity = expected.get("entity").unwrap_or(&expected["entity_group"]);
                assert_eq!(found.entity, *entity);
                assert_eq!(found.word, expected["word"]);
                assert_eq!(found.char_start, expected["start"]);
                assert_eq!(found.char_end, expected["end"]);
                assert_close(f64::from(found.score), &expected["score"]);
                let by_chars: String = text
                    .chars()
                    .skip(found.char_start)
                    .take(found.char_end - found.char_start)
                    .collect();
                assert_eq!(text[found.start..found.end], by_chars);
            }
        }
    }
    let options = EntitiesOptions {
        aggregation_strategy: AggregationStrategy::None,
        long_texts: LongTexts::Window,
        ..Default::default()
    };
    assert_eq!(module.entities(["a"], &options).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn masks_are_filled_as_by_the_pipeline() {
    let module = module("masked");
    let none = FillMaskOptions { top_k: 0, ..FillMaskOptions::default() };
    let error = module.fill_mask(["a [MASK]"], &none).unwrap_err();
    assert_eq!(error.to_string(), "top_k: found 0, expected at least 1");
    let expected = expected("masked");
    let texts = strings(&expected["mask_texts"]);
    let check = |found: &[bertscript::Filling], expected: &Value| {
        assert_eq!(found.len(), expected.as_array().unwrap().len());
        for (found, expected) in found.iter().zip(expected.as_array().unwrap()) {
            assert_eq!(found.token, expected["token"]);
            assert_eq!(found.token_str, expected["token_str"]);
            assert_eq!(found.sequence, expected["sequence"]);
            assert_close(f64::from(found.score), &expected["score"]);
        }
    };
    let found = module.fill_mask(&texts, &FillMaskOptions::default()).unwrap();
    for (found, expected) in found.iter().zip(expected["masks"].as_array().unwrap()) {
        assert!(!found.truncated);
        assert_eq!(found.masks.len(), expected.as_array().unwrap().len());
        for (mask, expected) in found.masks.iter().zip(expected.as_array().unwrap()) {
            check(mask, expected);
        }
    }
    let targets = Some(vec!["cat".to_owned(), "dog".to_owned()]);
    let options = FillMaskOptions { targets, ..Default::default() };
    let found = module.fill_mask([texts[0].as_str()], &options).unwrap();
    check(&found[0].masks[0], &expected["targets"]);
    let long = format!("[MASK] {}", "day ".repeat(40));
    let found = module.fill_mask([long.as_str()], &FillMaskOptions::default()).unwrap();
    assert!(found[0].truncated);

    let error = module.fill_mask(["a [MASK]", "the cat"], &FillMaskOptions::default());
    assert_eq!(error.unwrap_err().to_string(), "text 1: no [MASK] is in it");
    let targets = Some(vec!["elephant".to_owned()]);
    let error = module.fill_mask(["[MASK]"], &FillMaskOptions { targets, ..Default::default() });
    let message = "targets: \"elephant\" is not a token of the vocabulary";
    assert_eq!(error.unwrap_err().to_string(), message);
}

/// Only masks have logits without padding: those that the whole run gives them.
#[test]
fn scores_of_masks_are_those_of_all_logits() {
    let module = module("masked");
    let texts = ["the [MASK] sat", "a [MASK] and a [MASK]", "[MASK]"];
    let options = FillMaskOptions { top_k: 100_000, ..Default::default() };
    let found = module.fill_mask(texts, &options).unwrap();
    let (mask, _) = module.tokenizer().unwrap().mask_token().unwrap();
    let texts: Vec<_> = texts.map(Text::from).into();
    let encodings =
        module.tokenizer().unwrap().encode_batch(&texts, &EncodeOptions::default()).unwrap();
    let mut compared = 0;
    for (encoding, found) in encodings.iter().zip(found) {
        let ids = Tensor::new(encoding.input_ids.clone(), [1, encoding.len()]).unwrap();
        let outputs = module.run(&Inputs::new(ids)).unwrap();
        let logits = torch(outputs.get("logits").unwrap()).get(0);
        let places = encoding.input_ids.iter().enumerate().filter(|(_, id)| **id == mask);
        for ((place, _), fillings) in places.zip(&found.masks) {
            let logits = Vec::<f32>::try_from(logits.get(place as i64)).unwrap();
            let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let exponentials = logits.iter().map(|logit| f64::from(logit - most).exp());
            let exponentials: Vec<_> = exponentials.collect();
            let sum: f64 = exponentials.iter().sum();
            assert_eq!(fillings.len(), logits.len());
            for filling in fillings {
                let score = (exponentials[filling.token as usize] / sum) as f32;
                assert_eq!(filling.score.to_bits(), score.to_bits(), "{filling:?}");
            }
            compared += 1;
        }
    }
    assert_eq!(compared, 4);
}

#[test]
fn the_next_sentence_is_told() {
    let module = module("next-sentence");
    let expected = expected("next-sentence");
    let pairs: Vec<_> = expected["pairs"].as_array().unwrap().iter().map(strings).collect();
    let pairs = pairs.iter().map(|pair| (pair[0].as_str(), pair[1].as_str()));
    let found = module.next_sentence(pairs, &ClassifyOptions::default()).unwrap();
    for (found, expected) in found.iter().zip(expected["scores"].as_array().unwrap()) {
        for (label, expected) in ["is_next", "not_next"].iter().zip(expected.as_array().unwrap()) {
            let found = found.labels.iter().find(|found| found.label == *label).unwrap();
            assert_close(f64::from(found.score), expected);
        }
    }
    let error = module.next_sentence(["alone"], &ClassifyOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "text 0: the second text of the pair is missing");
}

#[test]
fn a_task_names_the_model_that_it_needs() {
    let error = module("masked").classify(["a"], &ClassifyOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let message = "classify needs BertForSequenceClassification, but the file is a BertForMaskedLM";
    assert_eq!(error.to_string(), message);
}

#[test]
fn a_file_without_a_tokenizer_says_so() {
    let checkpoint = Checkpoint::open(fixture("model")).unwrap();
    let model = PreTrained::from_checkpoint(&checkpoint, &LoadOptions::default()).unwrap();
    let scratch = scratch();
    let path = scratch.path().join("model.pt");
    model.export(&Shapes::Any, &path).unwrap();
    let module = Module::load(&path, Device::Cpu, None).unwrap();
    let error = module.embed(["a"], &EmbedOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("--pooling"), "{error}");
    let pooling = Some(vec![PoolingMode::Mean]);
    let error = module.embed(["a"], &EmbedOptions { pooling, ..Default::default() }).unwrap_err();
    assert!(error.to_string().contains("neither tokenizer.json nor vocab.txt"), "{error}");
}
