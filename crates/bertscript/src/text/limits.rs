//! How many tokens a sequence may have.

use crate::assets::Assets;
use crate::error::Result;
use serde::Deserialize;

/// The least of what the checkpoint's files say. A `max_length` in
/// `tokenizer.json` is what somebody once asked for, not a limit.
pub(super) fn max_length(assets: &Assets) -> Result<usize> {
    #[derive(Default, Deserialize)]
    struct SentenceBert {
        max_seq_length: Option<f64>,
    }
    #[derive(Default, Deserialize)]
    struct Tokenizer {
        model_max_length: Option<f64>,
    }
    #[derive(Default, Deserialize)]
    struct Model {
        max_position_embeddings: Option<f64>,
    }
    let sentence: SentenceBert = assets.json("sentence_bert_config.json")?.unwrap_or_default();
    let tokenizer: Tokenizer = assets.json("tokenizer_config.json")?.unwrap_or_default();
    let model: Model = assets.json("config.json")?.unwrap_or_default();
    let limits = [
        sentence.max_seq_length,
        tokenizer.model_max_length,
        Some(model.max_position_embeddings.unwrap_or(512.)),
    ];
    // "No limit" is written as 1e30, which saturates.
    let least = limits.into_iter().flatten().filter(|limit| *limit >= 1.);
    Ok(least.fold(f64::INFINITY, f64::min) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_counts() {
        let limit = |files: &[(&str, &str)]| {
            let files =
                files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
            max_length(&files.collect()).unwrap()
        };
        let model = ("config.json", r#"{"max_position_embeddings": 512}"#);
        let sentence = ("sentence_bert_config.json", r#"{"max_seq_length": 256}"#);
        assert_eq!(limit(&[model]), 512);
        assert_eq!(limit(&[model, sentence]), 256);
        assert_eq!(
            limit(&[model, ("tokenizer_config.json", r#"{"model_max_length": 1e30}"#)]),
            512
        );
        assert_eq!(limit(&[model, ("tokenizer_config.json", r#"{"model_max_length": 128}"#)]), 128);
        assert_eq!(
            limit(&[model, ("sentence_bert_config.json", r#"{"max_seq_length": null}"#)]),
            512
        );
        assert_eq!(limit(&[]), 512);
    }
}
