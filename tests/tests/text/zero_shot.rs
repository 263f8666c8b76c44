//! Labels that are given.

use crate::{assert_close, expected, module, strings};
use bertscript::{Classification, ErrorKind, LongTexts, Module, ZeroShotOptions};
use bertscript_tests::copy_of;
use serde_json::{Value, json};

fn options() -> ZeroShotOptions {
    ZeroShotOptions { hypothesis_template: "it is {}.".to_owned(), ..ZeroShotOptions::default() }
}

fn assert_equal(found: &[Classification], expected: &Value) {
    let expected = expected.as_array().unwrap();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let labels: Vec<_> = found.labels.iter().map(|found| found.label.as_str()).collect();
        assert_eq!(json!(labels), expected["labels"]);
        for (found, score) in found.labels.iter().zip(expected["scores"].as_array().unwrap()) {
            assert_close(f64::from(found.score), score);
        }
    }
}

#[test]
fn labels_equal_those_of_transformers() {
    let (module, expected) = (module("inference"), expected("inference"));
    let (texts, labels) = (strings(&expected["texts"]), strings(&expected["labels"]));
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let score = |labels: &[&str], options| {
        module.zero_shot(texts.iter().copied(), labels, &options).unwrap()
    };
    for batch_tokens in [1, 64, 4096] {
        let options = ZeroShotOptions { batch_tokens: Some(batch_tokens), ..options() };
        let found = score(&labels, options.clone());
        assert_equal(&found, &expected["one"]);
        // The last text is cut, and its labels are not.
        let truncated: Vec<_> = found.iter().map(|found| found.truncated).collect();
        assert_eq!(truncated.iter().rposition(|cut| !cut), Some(texts.len() - 2));
        assert!(truncated[texts.len() - 1]);
        let many = ZeroShotOptions { multi_label: true, ..options.clone() };
        assert_equal(&score(&labels, many), &expected["many"]);
        assert_equal(&score(&labels[..1], options), &expected["alone"]);
    }
    let top = ZeroShotOptions { top_k: Some(2), ..options() };
    assert!(score(&labels, top).iter().all(|found| found.labels.len() == 2));
    let windows = ZeroShotOptions { long_texts: LongTexts::Window, ..options() };
    let found = score(&labels, windows);
    assert!(found.iter().all(|found| !found.truncated));
    let sum: f32 = found[0].labels.iter().map(|label| label.score).sum();
    assert!((sum - 1.).abs() <= 1e-6);
}

/// The fixture with other labels in its configuration.
fn of_labels(id2label: [&str; 3], label2id: Value) -> Module {
    let directory = copy_of("text/inference");
    let path = directory.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["id2label"] = json!({"0": id2label[0], "1": id2label[1], "2": id2label[2]});
    config["label2id"] = label2id;
    std::fs::write(&path, config.to_string()).unwrap();
    crate::module_of(directory.path())
}

#[test]
fn the_label_that_entails_is_found() {
    let score = |module: &Module| {
        let options = ZeroShotOptions { multi_label: true, ..options() };
        module.zero_shot(["the cat sat"], &["a cat"], &options).unwrap()[0].labels[0].score
    };
    let usual = score(&module("inference"));
    // By id2label without label2id, and in any case of letters.
    assert_eq!(score(&of_labels(["ENTAILS", "b", "c"], Value::Null)), usual);
    // label2id counts before it.
    let other = of_labels(["entailment", "b", "c"], json!({"a": 0, "entail": 2, "c": 1}));
    assert!((score(&other) - (1. - usual)).abs() <= 1e-6, "the same two labels, exchanged");
    for (names, ids, found) in [
        (["a", "b", "c"], Value::Null, "a (0), b (1), c (2)"),
        (["entailment", "entails", "c"], Value::Null, "c (2), entailment (0), entails (1)"),
        (["entailment", "b", "c"], json!({"a": 0, "b": 1, "c": 2}), "a (0), b (1), c (2)"),
        (["entailment", "b", "c"], json!({"entailment": 3}), "entailment (3)"),
    ] {
        let error = of_labels(names, ids).zero_shot(["a"], &["b"], &options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let message = format!(
            "zero_shot needs a model with one of 3 labels that begins with entail, but the file's are {found}"
        );
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let module = module("inference");
    let long = "day ".repeat(40);
    let refused = |labels: &[&str], options: ZeroShotOptions| {
        module.zero_shot(["a", &long], labels, &options).unwrap_err().to_string()
    };
    assert_eq!(refused(&[], options()), "candidate_labels: found none, expected at least one");
    let none = ZeroShotOptions { top_k: Some(0), ..options() };
    assert_eq!(refused(&["a"], none), "top_k: found 0, expected at least 1");
    let template = ZeroShotOptions { hypothesis_template: "it is".to_owned(), ..options() };
    assert_eq!(
        refused(&["a"], template),
        "hypothesis_template: found \"it is\", expected a text with {} once, where the label goes"
    );
    let refuse = ZeroShotOptions { long_texts: LongTexts::Refuse, ..options() };
    let error = refused(&["a", "b"], refuse);
    assert!(error.starts_with("text 1: found"), "{error}");
    let error = refused(&["a", &long], options());
    assert!(error.contains("too many to cut"), "{error}");
    let error = crate::module("masked").zero_shot(["a"], &["b"], &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
