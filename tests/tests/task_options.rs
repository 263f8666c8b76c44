//! What every task has: special tokens as plain text, and a max length.

use bertscript::{
    AnswerOptions, Checkpoint, ClassifyOptions, Device, EmbedOptions, EntitiesOptions, ErrorKind,
    FillMaskOptions, LoadOptions, Module, PoolingMode, PreTrained, Result, Shapes,
};
use bertscript_tests::{architecture, copy_of, scratch};

const LIMIT: usize = 32;
const LONG: &str = "the cat sat on the mat the dog ran to the house";
const MASKED: &str = "the [MASK] sat on the mat the dog ran to the house";

/// The two options, as every task takes them.
type Chosen = (Option<bool>, Option<usize>);
const NEITHER: Chosen = (None, None);

/// A task: a module for it, whose tokenizer_config.json says so of special tokens, and
/// what it finds in a text, and whether it cut the text.
struct Task {
    module: fn(Option<bool>) -> Module,
    run: fn(&Module, &str, Chosen) -> Result<(String, bool)>,
}

const TASKS: [Task; 5] = [
    Task { module: |split| module("masked", "BertModel", split), run: embed },
    Task {
        module: |split| module("classify-single", "BertForSequenceClassification", split),
        run: classify,
    },
    Task {
        module: |split| module("next-sentence", "BertForNextSentencePrediction", split),
        run: next_sentence,
    },
    Task { module: |split| module("entities", "BertForTokenClassification", split), run: entities },
    Task { module: |split| module("masked", "BertForQuestionAnswering", split), run: answer },
];

/// A fixture as a model of a class, its tokenizer_config.json with `split_special_tokens`.
fn module(name: &str, class: &str, split: Option<bool>) -> Module {
    let directory = copy_of(&format!("text/{name}"));
    if let Some(split) = split {
        let path = directory.path().join("tokenizer_config.json");
        let mut config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["split_special_tokens"] = split.into();
        std::fs::write(&path, config.to_string()).unwrap();
    }
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    let options = LoadOptions {
        architecture: Some(architecture(class)),
        random_init: Some(1),
        ..LoadOptions::default()
    };
    let model = PreTrained::from_checkpoint(&checkpoint, &options).unwrap();
    let scratch = scratch();
    let path = scratch.path().join("model.pt");
    model.export(&Shapes::Any, &path).unwrap();
    Module::load(&path, Device::Cpu, None).unwrap()
}

fn embed(module: &Module, text: &str, chosen: Chosen) -> Result<(String, bool)> {
    let (split_special_tokens, max_length) = chosen;
    let options = EmbedOptions {
        pooling: Some(vec![PoolingMode::Mean]),
        split_special_tokens,
        max_length,
        ..EmbedOptions::default()
    };
    let found = module.embed([text], &options)?;
    Ok((format!("{:?}", found.as_slice()), !found.truncated().is_empty()))
}

fn classify_options((split_special_tokens, max_length): Chosen) -> ClassifyOptions {
    ClassifyOptions { split_special_tokens, max_length, ..ClassifyOptions::default() }
}

fn classify(module: &Module, text: &str, chosen: Chosen) -> Result<(String, bool)> {
    let found = module.classify([text], &classify_options(chosen))?.swap_remove(0);
    Ok((format!("{:?}", found.labels), found.truncated))
}

fn next_sentence(module: &Module, text: &str, chosen: Chosen) -> Result<(String, bool)> {
    let found = module.next_sentence([(text, "a bird")], &classify_options(chosen))?.swap_remove(0);
    Ok((format!("{:?}", found.labels), found.truncated))
}

fn entities(module: &Module, text: &str, chosen: Chosen) -> Result<(String, bool)> {
    let (split_special_tokens, max_length) = chosen;
    let options = EntitiesOptions {
        ignore_labels: Vec::new(),
        split_special_tokens,
        max_length,
        ..EntitiesOptions::default()
    };
    let found = module.entities([text], &options)?.swap_remove(0);
    let scores = found.entities.iter().map(|entity| (&entity.entity, entity.score));
    Ok((format!("{:?}", scores.collect::<Vec<_>>()), found.truncated))
}

fn answer(module: &Module, text: &str, chosen: Chosen) -> Result<(String, bool)> {
    let (split_special_tokens, max_length) = chosen;
    let options = AnswerOptions {
        top_k: 100,
        long_texts: bertscript::LongTexts::Truncate,
        split_special_tokens,
        max_length,
        ..AnswerOptions::default()
    };
    let found = module.answer([("who", text)], &options)?.swap_remove(0);
    let scores = found.answers.iter().map(|answer| answer.score);
    Ok((format!("{:?}", scores.collect::<Vec<_>>()), found.truncated))
}

#[test]
fn special_tokens_are_plain_text_if_asked_for() {
    let (special, plain) = ("the cat [SEP] sat", "the cat [ SEP ] sat");
    for Task { module, run } in TASKS {
        let usual = module(None);
        // Special tokens apart, the two spellings are the same text.
        let expected = run(&usual, plain, NEITHER).unwrap();
        let is_split =
            |module: &Module, split| run(module, special, (split, None)).unwrap() == expected;
        assert!(!is_split(&usual, None) && !is_split(&usual, Some(false)));
        assert!(is_split(&usual, Some(true)));
        let configured = module(Some(true));
        assert!(is_split(&configured, None) && is_split(&configured, Some(true)));
        assert!(!is_split(&configured, Some(false)));
    }
}

#[test]
fn a_mask_is_never_plain_text() {
    let usual = module("masked", "BertForMaskedLM", None);
    let fill = |module: &Module, split_special_tokens| {
        let options = FillMaskOptions { split_special_tokens, ..FillMaskOptions::default() };
        module.fill_mask([MASKED], &options)
    };
    let expected = fill(&usual, None).unwrap();
    let refused = |module: &Module, split| {
        let error = fill(module, split).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let message = "split_special_tokens: found true, expected false: [MASK] is a special token";
        assert_eq!(error.to_string(), message);
    };
    refused(&usual, Some(true));
    let configured = module("masked", "BertForMaskedLM", Some(true));
    refused(&configured, None);
    assert_eq!(fill(&configured, Some(false)).unwrap(), expected);
}

#[test]
fn texts_are_cut_at_the_max_length() {
    for Task { module, run } in TASKS {
        let module = module(None);
        let (whole, cut) = run(&module, LONG, NEITHER).unwrap();
        assert!(!cut);
        assert_eq!(run(&module, LONG, (None, Some(LIMIT))).unwrap(), (whole.clone(), false));
        let (short, cut) = run(&module, LONG, (None, Some(10))).unwrap();
        assert!(cut && short != whole);
        for length in [0, LIMIT + 1] {
            let error = run(&module, LONG, (None, Some(length))).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let message = format!("max_length: found {length}, expected 1 to {LIMIT}");
            assert_eq!(error.to_string(), message);
        }
    }
    let filler = module("masked", "BertForMaskedLM", None);
    let fill = |max_length| {
        let options = FillMaskOptions { max_length, ..FillMaskOptions::default() };
        filler.fill_mask([MASKED], &options)
    };
    assert!(fill(Some(10)).unwrap()[0].truncated && !fill(None).unwrap()[0].truncated);
    assert!(fill(Some(0)).unwrap_err().to_string().starts_with("max_length: found 0"));
}

/// The embedding of a text that is cut is that of what is left of it.
#[test]
fn what_is_cut_counts_no_more() {
    let module = module("masked", "BertModel", None);
    let words: Vec<_> = LONG.split(' ').collect();
    let prompt = "who is ";
    let embed = |text: &str, max_length| {
        let options = EmbedOptions {
            pooling: Some(vec![PoolingMode::Mean]),
            prompt: Some(prompt.to_owned()),
            max_length,
            ..EmbedOptions::default()
        };
        module.embed([text], &options).unwrap().as_slice().to_vec()
    };
    // Two tokens are the prompt's, and two are special.
    assert_eq!(embed(LONG, Some(10)), embed(&words[..6].join(" "), None));
}
