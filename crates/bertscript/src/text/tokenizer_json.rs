//! `tokenizer.json`: as it is, or what a tokenizer class takes of it.
//!
//! Source: `TokenizersBackend.convert_to_native_format`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/tokenization_utils_tokenizers.py>

use super::{charsmap, growth};
use crate::error::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokenizers::{AddedToken, PaddingParams, Tokenizer, TruncationParams};

/// The file, well-formed JSON whose character maps are what they say.
pub(super) struct TokenizerJson(Value);

/// What stands beside a vocabulary, of whatever kind that is.
#[derive(Default)]
pub(super) struct Extras {
    /// The tokens that the file adds, with their ids
    pub(super) added_tokens: Vec<(u64, AddedToken)>,
    pub(super) padding: Option<PaddingParams>,
    pub(super) truncation: Option<TruncationParams>,
}

impl TokenizerJson {
    pub(super) fn parse(text: &[u8]) -> Result<Self> {
        // The tokenizers crate panics on a decoder whose JSON is not whole.
        let json: Value = serde_json::from_slice(text).map_err(|error| failed(error.into()))?;
        charsmap::check(&json)?;
        Ok(Self(json))
    }

    /// The tokenizer as the file describes it.
    pub(super) fn tokenizer(&self) -> Result<Tokenizer> {
        // What was checked, and not the file: that may have a key twice.
        let tokenizer = Tokenizer::from_bytes(self.0.to_string()).map_err(failed)?;
        growth::check(&tokenizer)?;
        Ok(tokenizer)
    }

    /// The model of this kind, and what stands beside it. All of the file must be well-formed,
    /// although its normalizer, pre-tokenizer and post-processor may not count.
    pub(super) fn parts(mut self, kind: &str) -> Result<(Map<String, Value>, Extras)> {
        let file = &mut self.0;
        let model = file.get_mut("model").and_then(Value::as_object_mut);
        let model = model.ok_or_else(|| failed("expected a model".into()))?;
        // Old files do not name it.
        if let Some(found) = model.get("type").filter(|found| *found != kind) {
            let found = found.as_str().filter(|found| found.len() <= SHOWN);
            let message = format!(
                "model: found {:?}, expected {kind:?}, of which the tokenizer's class is",
                found.unwrap_or("another one")
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let empty = match kind {
            "BPE" => json!({"vocab": {}, "merges": []}),
            _ => json!({"vocab": {}}),
        };
        let mut taken = Map::new();
        for (key, empty) in empty.as_object().into_iter().flatten() {
            taken
                .extend(model.insert(key.clone(), empty.clone()).map(|value| (key.clone(), value)));
        }
        model.insert("type".to_owned(), kind.into());
        let added_tokens = file.get_mut("added_tokens").map(Value::take).unwrap_or_default();
        let added_tokens = read_added_tokens(&added_tokens)?;
        file["added_tokens"] = json!([]);
        let rest = Tokenizer::from_bytes(file.to_string()).map_err(failed)?;
        let (padding, truncation) = (rest.get_padding().cloned(), rest.get_truncation().cloned());
        Ok((taken, Extras { added_tokens, padding, truncation }))
    }
}

/// How much of a file a message shows, in bytes.
const SHOWN: usize = 64;

fn read_added_tokens(list: &Value) -> Result<Vec<(u64, AddedToken)>> {
    let tokens = list.as_array().into_iter().flatten().map(|token| {
        let id = token["id"].as_u64();
        let id = id.ok_or_else(|| failed("added_tokens: found a token without an id".into()))?;
        Ok((id, AddedToken::deserialize(token).map_err(|error| failed(error.into()))?))
    });
    tokens.collect()
}

pub(super) fn failed(error: tokenizers::Error) -> Error {
    Error::new(ErrorKind::Config, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(model: Value) -> Value {
        json!({"version": "1.0", "truncation": null, "padding": null, "normalizer": null,
            "added_tokens": [{"id": 7, "content": "<x>", "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true}],
            "pre_tokenizer": null, "post_processor": null, "decoder": null, "model": model})
    }

    fn parts(file: &Value, kind: &str) -> Result<(Map<String, Value>, Extras)> {
        TokenizerJson::parse(file.to_string().as_bytes())?.parts(kind)
    }

    #[test]
    fn a_model_is_taken_out_and_the_rest_is_read() {
        let vocab = json!({"a": 0, "b": 1});
        let merges = json!([["a", "b"]]);
        for name in [json!({"type": "BPE"}), json!({})] {
            let mut model = name;
            model["vocab"] = vocab.clone();
            model["merges"] = merges.clone();
            let (model, extras) = parts(&file(model), "BPE").unwrap();
            assert_eq!((&model["vocab"], &model["merges"]), (&vocab, &merges));
            assert_eq!(extras.added_tokens, [(7, AddedToken::from("<x>", true))]);
        }
    }

    #[test]
    fn what_is_malformed_is_refused_although_it_does_not_count() {
        let whole = file(json!({"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "a",
            "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}));
        assert!(parts(&whole, "WordPiece").is_ok());
        let wrong = [
            ("model", json!(null), "expected a model"),
            ("model", json!({"type": "BPE"}), "model: found \"BPE\", expected \"WordPiece\""),
            ("model", json!({"type": "b".repeat(65)}), "found \"another one\", expected"),
            ("added_tokens", json!([{"content": "a"}]), "found a token without an id"),
            ("added_tokens", json!([{"id": 1}]), "missing field"),
            ("normalizer", json!({"type": "Upper"}), ""),
            ("post_processor", json!({"type": "TemplateProcessing"}), ""),
            ("padding", json!({"strategy": "Longest"}), ""),
        ];
        for (key, value, words) in wrong {
            let mut file = whole.clone();
            file[key] = value;
            let error = parts(&file, "WordPiece").err().expect(key).to_string();
            assert!(error.contains(words), "{key}: {error}");
        }
    }
}
