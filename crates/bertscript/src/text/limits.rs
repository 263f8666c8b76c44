//! How long a text and a sequence may be.

use super::encoding::Text;
use super::tokenizer::invalid;
use crate::assets::Assets;
use crate::checkpoint::SENTENCE_FILES;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{HEADROOM, check};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokenizers::{NormalizerWrapper, Tokenizer};

/// The limit of a text, in bytes; no book is longer. A tokenizer needs a hundred times as much.
pub const MAX_TEXT_BYTES: usize = 16 << 20;
/// What the `tokenizers` crate needs for each byte of a text, about. It cannot say that there is
/// no memory.
const NEEDED_PER_BYTE: usize = 320;
/// The same where a normalizer may make eleven bytes of one, as Unicode's compatibility forms do.
const NEEDED_PER_EXPANDED_BYTE: usize = 1024;
/// The limit of padding, in tokens: no sequence is padded further, as memory must hold it.
pub const MAX_PADDED_LENGTH: usize = 1 << 20;
/// A batch has no more tokens, padding included: one long text among many short
/// ones would take any memory.
const MAX_PADDED_TOKENS: usize = 1 << 28;

/// Refuses a text that is too long to be encoded.
pub(super) fn check_length(number: usize, text: Text<'_>) -> Result<()> {
    let bytes = text.text.len().max(text.text_pair.map_or(0, str::len));
    if bytes <= MAX_TEXT_BYTES {
        return Ok(());
    }
    let message = format!("found {bytes} bytes, expected at most {MAX_TEXT_BYTES}");
    Err(Error::new(ErrorKind::InvalidInput, message).at_text(number))
}

/// Refuses a text for which the `tokenizers` crate has not enough memory.
pub(super) fn check_memory(text: Text<'_>, tokenizer: &Tokenizer) -> Result<()> {
    let expands = tokenizer.get_normalizer().is_some_and(expands);
    let needed = if expands { NEEDED_PER_EXPANDED_BYTE } else { NEEDED_PER_BYTE };
    let bytes = text.text.len() + text.text_pair.map_or(0, str::len);
    Ok(check(HEADROOM + bytes * needed)?)
}

/// Whether one character may become several.
fn expands(normalizer: &NormalizerWrapper) -> bool {
    match normalizer {
        NormalizerWrapper::Sequence(all) => all.as_ref().iter().any(expands),
        NormalizerWrapper::Precompiled(_) | NormalizerWrapper::NFKC(_) => true,
        NormalizerWrapper::NFKD(_) => true,
        _ => false,
    }
}

/// Refuses to fill up so many rows to a length.
pub(crate) fn check_padded(rows: usize, length: usize) -> Result<()> {
    if rows.checked_mul(length).is_some_and(|tokens| tokens <= MAX_PADDED_TOKENS) {
        return Ok(());
    }
    let message = format!(
        "found {rows} rows to fill up to {length} tokens, expected at most {MAX_PADDED_TOKENS} tokens in all"
    );
    Err(invalid("padding", message))
}

/// What sentence-transformers sets of its Transformer.
#[derive(Default, Deserialize)]
pub(crate) struct SentenceConfig {
    max_seq_length: Option<f64>,
    pub(super) do_lower_case: Option<bool>,
    /// What the model is loaded for: `feature-extraction` or `fill-mask`
    pub(crate) transformer_task: Option<String>,
}

impl SentenceConfig {
    /// That of the first file that says anything.
    pub(crate) fn read(assets: &Assets) -> Result<Self> {
        for name in SENTENCE_FILES {
            let values: Map<String, Value> = assets.json(name)?.unwrap_or_default();
            if !values.is_empty() {
                return Ok(assets.json(name)?.unwrap_or_default());
            }
        }
        Ok(Self::default())
    }
}

/// `max_seq_length` of sentence-transformers, or else `model_max_length` of
/// transformers, but no more than the model's longest sequence. A `max_length` in
/// `tokenizer.json` is what somebody once asked for, not a limit.
pub(super) fn max_length(assets: &Assets) -> Result<usize> {
    #[derive(Default, Deserialize)]
    struct TokenizerConfig {
        model_max_length: Option<f64>,
    }
    let sentence = SentenceConfig::read(assets)?;
    let tokenizer: TokenizerConfig = assets.json("tokenizer_config.json")?.unwrap_or_default();
    let positions = longest_sequence(assets)?;
    let wanted = sentence.max_seq_length.or(tokenizer.model_max_length);
    // "No limit" is written as 1e30.
    let wanted = wanted.filter(|wanted| *wanted >= 1.).unwrap_or(positions);
    Ok(wanted.min(positions) as usize)
}

/// The maximum sequence length of the model; of one that this library does not know, as many
/// as it has positions.
fn longest_sequence(assets: &Assets) -> Result<f64> {
    #[derive(Default, Deserialize)]
    struct Model {
        max_position_embeddings: Option<f64>,
    }
    if let Some(Ok(config)) = assets.get("config.json").map(Config::from_json) {
        return Ok(config.max_length() as f64);
    }
    let model: Model = assets.json("config.json")?.unwrap_or_default();
    Ok(model.max_position_embeddings.unwrap_or(512.))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_limits_what_the_files_want() {
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
        let larger = ("sentence_bert_config.json", r#"{"max_seq_length": 300}"#);
        let tokenizer = ("tokenizer_config.json", r#"{"model_max_length": 128}"#);
        assert_eq!(limit(&[model, larger, tokenizer]), 300);
        assert_eq!(limit(&[]), 512);
        let others = [
            ("sentence_roberta_config.json", r#"{"do_lower_case": false}"#),
            ("sentence_distilbert_config.json", r#"{"max_seq_length": 48}"#),
        ];
        assert_eq!(limit(&[model, others[1]]), 48);
        assert_eq!(limit(&[model, others[1], sentence]), 256);
        assert_eq!(limit(&[model, others[1], ("sentence_bert_config.json", "{}")]), 48);
        assert_eq!(limit(&[model, others[0], others[1]]), 512);
    }
}
