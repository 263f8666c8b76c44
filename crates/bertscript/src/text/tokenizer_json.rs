//! `tokenizer.json`: as it is, or what a tokenizer class takes of it.
//!
//! Source: `TokenizersBackend.convert_to_native_format`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/tokenization_utils_tokenizers.py>

use super::pieces::check_pieces;
use super::{charsmap, growth};
use crate::error::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokenizers::normalizers::Precompiled;
use tokenizers::{AddedToken, PaddingParams, PostProcessorWrapper, Tokenizer, TruncationParams};

/// The file: well-formed JSON, its character map and its pieces within their limits.
pub(super) struct TokenizerJson(Value);

/// What stands beside a vocabulary, of whatever kind that is.
#[derive(Default)]
pub(super) struct Extras {
    /// The tokens that the file adds, with their ids
    pub(super) added_tokens: Vec<(u64, AddedToken)>,
    /// Those that the class adds unless a file names `extra_special_tokens`
    pub(super) class_tokens: Option<Vec<AddedToken>>,
    pub(super) padding: Option<PaddingParams>,
    pub(super) truncation: Option<TruncationParams>,
    pub(super) charsmap: Option<Precompiled>,
    pub(super) post_processor: Option<PostProcessorWrapper>,
}

impl TokenizerJson {
    pub(super) fn parse(text: &[u8]) -> Result<Self> {
        // The tokenizers crate panics on a decoder whose JSON is not whole.
        let json: Value = serde_json::from_slice(text).map_err(|error| failed(error.into()))?;
        charsmap::check(&json)?;
        json.get("post_processor").map_or(Ok(()), check_template)?;
        if let Some(Value::Array(pieces)) = json.get("model").and_then(|model| model.get("vocab")) {
            check_pieces(pieces.iter().map(|piece| piece[0].as_str().unwrap_or_default()))?;
        }
        Ok(Self(json))
    }

    /// Whether its model is of this kind; of old files, which do not name it, by what it has.
    pub(super) fn is(&self, kind: &str) -> bool {
        let Some(model) = self.0.get("model") else { return true };
        match (model.get("type"), model.get("vocab"), model.get("merges")) {
            (Some(found), ..) => found == kind,
            (None, Some(Value::Array(_)), _) => kind == "Unigram",
            (None, _, Some(_)) => kind == "BPE",
            (None, _, None) => kind == "WordPiece",
        }
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
        let empty = match kind {
            "BPE" => json!({"vocab": {}, "merges": []}),
            // There is none without pieces.
            "Unigram" => json!({"vocab": [["", 0.0]], "unk_id": null}),
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
        let extras = Extras {
            added_tokens,
            class_tokens: None,
            padding: rest.get_padding().cloned(),
            truncation: rest.get_truncation().cloned(),
            charsmap: file.get("normalizer").map_or(Ok(None), charsmap::taken_from)?,
            post_processor: rest.get_post_processor().cloned(),
        };
        Ok((taken, extras))
    }
}

/// The limit of what a template puts together, and of the ids of one of its tokens.
const MAX_TEMPLATE_PARTS: usize = 64;

/// Refuses a post-processor that makes a sequence of any length of every text.
fn check_template(post_processor: &Value) -> Result<()> {
    let check = |(key, value): (&String, &Value)| match value {
        Value::Array(list) if list.len() > MAX_TEMPLATE_PARTS => {
            let (found, most) = (list.len(), MAX_TEMPLATE_PARTS);
            let message =
                format!("post_processor: {key}: found {found} parts, expected at most {most}");
            Err(Error::new(ErrorKind::Config, message))
        }
        value => check_template(value),
    };
    match post_processor {
        Value::Object(entries) => entries.iter().try_for_each(check),
        Value::Array(items) => items.iter().try_for_each(check_template),
        _ => Ok(()),
    }
}

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
            ("added_tokens", json!([{"content": "a"}]), "found a token without an id"),
            ("added_tokens", json!([{"id": 1}]), "missing field"),
            ("normalizer", json!({"type": "Upper"}), ""),
            ("post_processor", json!({"type": "TemplateProcessing"}), ""),
            (
                "post_processor",
                json!({"single": vec![0; 65]}),
                "single: found 65 parts, expected at most 64",
            ),
            ("post_processor", json!([{"x": {"ids": vec![0; 65]}}]), "ids: found 65 parts"),
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
