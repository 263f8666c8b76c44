//! How many times as long a tokenizer may make a text.

use super::charsmap::MAX_MAPPED_BYTES;
use crate::error::{Error, ErrorKind, Result};
use serde_json::{Value, json};
use tokenizers::{DecoderWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

/// Replacements that follow one another multiply, so that a short file could make
/// a text of any length. The chain that transformers writes for T5 comes to 768.
const MAX_GROWTH: usize = 1024;

/// A prefix, or a character for each byte.
const OF_PREFIX: usize = 4;

/// Refuses a tokenizer that makes texts too long, in one direction or the other.
pub(super) fn check(tokenizer: &Tokenizer) -> Result<()> {
    let normalizer = tokenizer.get_normalizer().map_or(1, of_normalizer);
    let pre_tokenizer = tokenizer.get_pre_tokenizer().map_or(1, of_pre_tokenizer);
    let decoder = tokenizer.get_decoder().map_or(1, of_decoder);
    let growth = normalizer.saturating_mul(pre_tokenizer).max(decoder);
    if growth <= MAX_GROWTH {
        return Ok(());
    }
    let message = format!(
        "the tokenizer may make a text {growth} times as long, expected at most {MAX_GROWTH} times"
    );
    Err(Error::new(ErrorKind::Config, message))
}

fn of_normalizer(normalizer: &NormalizerWrapper) -> usize {
    match normalizer {
        NormalizerWrapper::Sequence(all) => product(all.as_ref().iter().map(of_normalizer)),
        NormalizerWrapper::Replace(replace) => of_replacement(&json!(replace)),
        NormalizerWrapper::Prepend(prepend) => prepend.prepend.len() + 1,
        NormalizerWrapper::ByteLevel(_) => OF_PREFIX,
        NormalizerWrapper::Precompiled(_) => MAX_MAPPED_BYTES,
        _ => 1,
    }
}

fn of_pre_tokenizer(pre_tokenizer: &PreTokenizerWrapper) -> usize {
    match pre_tokenizer {
        PreTokenizerWrapper::Sequence(all) => product(all.as_ref().iter().map(of_pre_tokenizer)),
        PreTokenizerWrapper::ByteLevel(_) | PreTokenizerWrapper::Metaspace(_) => OF_PREFIX,
        _ => 1,
    }
}

fn of_decoder(decoder: &DecoderWrapper) -> usize {
    match decoder {
        DecoderWrapper::Sequence(all) => product(all.get_decoders().iter().map(of_decoder)),
        DecoderWrapper::Replace(replace) => of_replacement(&json!(replace)),
        _ => 1,
    }
}

/// In the place of a text, or of one byte, or beside it; only the JSON says of what.
fn of_replacement(replace: &Value) -> usize {
    let length = |value: &Value| value.as_str().map_or(0, str::len);
    let content = length(&replace["content"]);
    match length(&replace["pattern"]["String"]) {
        0 => content + 1,
        pattern => content.div_ceil(pattern).max(1),
    }
}

fn product(factors: impl Iterator<Item = usize>) -> usize {
    factors.fold(1, usize::saturating_mul)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer(normalizer: serde_json::Value, pre_tokenizer: serde_json::Value) -> Tokenizer {
        let model = json!({"type": "WordPiece", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]",
            "continuing_subword_prefix": "##", "max_input_chars_per_word": 100});
        let text = json!({"version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [], "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
            "post_processor": null, "decoder": null, "model": model});
        Tokenizer::from_bytes(text.to_string()).unwrap()
    }

    #[test]
    fn what_doubles_a_text_again_and_again_is_refused() {
        let replace = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
        let chain = |count| json!({"type": "Sequence", "normalizers": vec![&replace; count]});
        let metaspace = json!({"type": "Metaspace", "replacement": "_", "prepend_scheme": "always",
            "split": true});
        assert!(check(&tokenizer(chain(4), metaspace.clone())).is_ok());
        let error = check(&tokenizer(chain(30), metaspace)).unwrap_err();
        assert!(error.message().contains("expected at most 1024 times"), "{error}");
        // As transformers converts SentencePiece models.
        let spaces =
            json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u{2581}"});
        let quotes = json!({"type": "Replace", "pattern": {"String": "``"}, "content": "\""});
        let converted = json!({"type": "Sequence", "normalizers": vec![&quotes, &quotes, &spaces]});
        assert_eq!(of_normalizer(tokenizer(converted, json!(null)).get_normalizer().unwrap()), 4);
        let long = json!({"type": "Prepend", "prepend": "a".repeat(1100)});
        let error = check(&tokenizer(long, json!(null))).unwrap_err();
        assert!(error.message().contains("may make a text 1101 times as long"), "{error}");
    }
}
