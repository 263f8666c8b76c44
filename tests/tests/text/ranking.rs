//! Texts ranked by how well they answer a query.

use crate::{assert_close, expected, module, strings};
use bertscript::{
    EmbedOptions, ErrorKind, FunctionToApply, LongTexts, Module, RankOptions, RankedText,
    Similarity,
};

const TEXTS: [&str; 4] = ["the cat sat", "a dog ran", "", "the cat sat"];

fn rank(module: &Module, texts: &[&str], options: &RankOptions) -> Vec<RankedText> {
    module.rank("who saw the cat", texts.iter().copied(), options).unwrap()
}

#[test]
fn a_cross_encoder_ranks_as_sentence_transformers() {
    let (module, expected) = (module("reranker"), expected("reranker"));
    let texts = strings(&expected["texts"]);
    let query = expected["query"].as_str().unwrap();
    let ranked = expected["ranked"].as_array().unwrap();
    for (batch_tokens, top_k) in [(1, None), (64, Some(3)), (4096, Some(99))] {
        let options =
            RankOptions { batch_tokens: Some(batch_tokens), top_k, ..RankOptions::default() };
        let found = module.rank(query, texts.iter().map(String::as_str), &options).unwrap();
        assert_eq!(found.len(), top_k.unwrap_or(usize::MAX).min(texts.len()));
        for (found, expected) in found.iter().zip(ranked) {
            // Two of them are equal, and keep their order.
            assert_eq!(found.index as u64, expected["corpus_id"].as_u64().unwrap());
            assert_close(f64::from(found.score), &expected["score"]);
            assert_eq!(found.truncated, found.index == texts.len() - 1);
        }
    }
}

#[test]
fn the_score_of_windows_is_their_max() {
    let module = module("reranker");
    let long = "the day and the night ".repeat(9);
    let function_to_apply = Some(FunctionToApply::None);
    // Four tokens of the query and three special ones leave nine to a window.
    let options = RankOptions {
        max_length: Some(16),
        long_texts: LongTexts::Window,
        function_to_apply,
        ..RankOptions::default()
    };
    let query = "who saw the cat";
    let found = module.rank(query, [long.as_str()], &options).unwrap();
    let words: Vec<_> = long.split_whitespace().collect();
    let windows: Vec<_> = words.chunks(9).map(|words| words.join(" ")).collect();
    assert!(windows.len() > 3);
    let options = RankOptions { function_to_apply, ..RankOptions::default() };
    let alone = module.rank(query, windows.iter().map(String::as_str), &options).unwrap();
    assert!((alone[0].score - alone[windows.len() - 1].score).abs() > 1e-4, "all are equal");
    assert!((found[0].score - alone[0].score).abs() <= 1e-5, "{found:?} {alone:?}");
    assert!(!found[0].truncated);
}

#[test]
fn a_bi_encoder_ranks_by_the_similarity_of_prompted_embeddings() {
    let module = module("sentence");
    let embed = |texts: &[&str], name: &str| {
        let options =
            EmbedOptions { prompt_name: Some(name.to_owned()), ..EmbedOptions::default() };
        module.embed(texts.iter().copied(), &options).unwrap()
    };
    let query = embed(&["who saw the cat"], "query");
    let scores = Similarity::Cosine.of(&query, embed(&TEXTS, "document")).unwrap();
    let scores = scores.as_slice::<f32>().unwrap();
    let found = rank(&module, &TEXTS, &RankOptions::default());
    assert_eq!(found.len(), TEXTS.len());
    for found in &found {
        assert!((found.score - scores[found.index]).abs() <= 1e-6);
    }
    assert!(found.windows(2).all(|two| two[0].score >= two[1].score));
    let first = found.iter().position(|found| found.index == 0).unwrap();
    assert_eq!(found[first + 1].index, 3, "equal texts keep their order");
    let unprompted = module.embed(["who saw the cat"], &EmbedOptions::default()).unwrap();
    assert_ne!(query.as_slice(), unprompted.as_slice(), "the prompt does nothing");
    let long = "the day and the night ".repeat(20);
    let cut = rank(&module, &["a", &long], &RankOptions::default());
    assert!(cut.iter().all(|found| found.truncated == (found.index == 1)));
    let cut = module.rank(&long, ["a", "b"], &RankOptions::default()).unwrap();
    assert!(cut.iter().all(|found| found.truncated), "the query was cut");
    assert!(rank(&module, &[], &RankOptions::default()).is_empty());
}

#[test]
fn what_cannot_rank_says_so() {
    let refused = |name: &str, options: &RankOptions| {
        let error = module(name).rank("who", ["a"], options).unwrap_err();
        (error.kind(), error.to_string())
    };
    let unsupported = |message: &str| (ErrorKind::Unsupported, message.to_owned());
    let invalid = |message: &str| (ErrorKind::InvalidInput, message.to_owned());
    let usual = RankOptions::default();
    assert_eq!(
        refused("classify-single", &usual),
        unsupported("rank needs a cross-encoder of one label, but the file has 3")
    );
    assert_eq!(
        refused("entities", &usual),
        unsupported(
            "rank needs BertModel or BertForSequenceClassification, but the file is a BertForTokenClassification"
        )
    );
    let none = RankOptions { top_k: Some(0), ..RankOptions::default() };
    assert_eq!(refused("reranker", &none), invalid("top_k: found 0, expected at least 1"));
    let function =
        RankOptions { function_to_apply: Some(FunctionToApply::None), ..RankOptions::default() };
    assert_eq!(
        refused("sentence", &function),
        invalid("function_to_apply: found one, expected none: the file is no cross-encoder")
    );
    let refuse = RankOptions { long_texts: LongTexts::Refuse, ..RankOptions::default() };
    let long = "day ".repeat(40);
    for name in ["sentence", "reranker"] {
        let error = module(name).rank("who", ["a", &long], &refuse).unwrap_err();
        assert!(error.to_string().starts_with("text 1: found"), "{error}");
    }
    let error = module("sentence").rank(&long, ["a"], &refuse).unwrap_err();
    assert!(error.to_string().starts_with("query: found"), "{error}");
}
