//! What the files beside a vocabulary say of a tokenizer.
//!
//! Source: `PreTrainedTokenizerBase._from_pretrained`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/tokenization_utils_base.py>

use super::class::{Class, FILE, Kind};
use crate::assets::Assets;
use crate::error::{Error, ErrorKind, Result};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashSet};
use tokenizers::{AddedToken, Tokenizer};

/// The special tokens that every class knows, in the order in which those beyond the
/// vocabulary get their ids.
const ROLES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The settings of a tokenizer.
pub(super) struct Settings {
    class: Class,
    values: Map<String, Value>,
    /// Whether `extra_special_tokens` is a list, or null, under that name or the old one of
    /// `tokenizer_config.json`
    states_extra_tokens: bool,
}

impl Settings {
    pub(super) fn read(assets: &Assets) -> Result<Self> {
        let mut values: Map<String, Value> = assets.json(FILE)?.unwrap_or_default();
        let model: Map<String, Value> = assets.json("config.json")?.unwrap_or_default();
        let named = |values: &Map<String, Value>| {
            values.get("tokenizer_class")?.as_str().map(str::to_owned)
        };
        let class = Class::of(named(&values).or_else(|| named(&model)).as_deref(), &model, assets)?;
        rename_extra_tokens(&mut values);
        let states = |values: &Map<String, Value>| {
            values.get("extra_special_tokens").is_some_and(|found| !found.is_object())
        };
        let mut states_extra_tokens = states(&values);
        if !values.contains_key("added_tokens_decoder") {
            // The older file has the last word, and none once tokens have their flags here.
            for (key, value) in
                assets.json::<Map<_, _>>("special_tokens_map.json")?.unwrap_or_default()
            {
                merge(&mut values, key, value);
            }
            states_extra_tokens = states(&values);
            rename_extra_tokens(&mut values);
        }
        Ok(Self { class, values, states_extra_tokens })
    }

    /// What the tokenizer is built of.
    pub(super) fn kind(&self) -> Kind {
        self.class.kind
    }

    /// The same of a tokenizer.json whose model is not of the class: it is used as it is, and
    /// has those special tokens that a file names.
    pub(super) fn as_it_is(&self) -> Self {
        let class = Class { kind: Kind::File, tokens: &[], ..self.class };
        Self { class, values: self.values.clone(), ..*self }
    }

    /// Whether the model is told which of two texts a token is of.
    pub(super) fn has_token_types(&self) -> bool {
        match self.values.get("model_input_names").and_then(Value::as_array) {
            Some(names) => names.iter().any(|name| name == "token_type_ids"),
            None => self.class.has_token_types,
        }
    }

    /// Whether `extra_special_tokens` is a list, or null, in whatever file and by whatever name.
    pub(super) fn lists_extra_tokens(&self) -> bool {
        self.get("extra_special_tokens").is_some_and(|found| !found.is_object())
    }

    /// The same without the old name in `special_tokens_map.json`.
    pub(super) fn states_extra_tokens(&self) -> bool {
        self.states_extra_tokens
    }

    /// A setting; what is absent differs from null.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(unexpected(key, other, "true or false")),
        }
    }

    /// A flag that Python asks for as a condition: null is false.
    pub(super) fn condition(&self, key: &str, usual: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(usual),
            Some(_) => Ok(self.flag(key)?.unwrap_or(false)),
        }
    }

    pub(super) fn number(&self, key: &str, usual: i64) -> Result<i64> {
        match self.get(key) {
            None => Ok(usual),
            Some(found) => found.as_i64().ok_or_else(|| unexpected(key, found, "a number")),
        }
    }

    /// Whether a side, `left` or `right`, is the left one; as `usual` where none is named.
    pub(super) fn is_left(&self, key: &str, usual: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(usual),
            Some(Value::String(side)) if side == "left" => Ok(true),
            Some(Value::String(side)) if side == "right" => Ok(false),
            Some(other) => Err(unexpected(key, other, "left or right")),
        }
    }

    /// The special token of a role, such as `cls_token`.
    pub(super) fn special_token(&self, role: &str) -> Result<Option<String>> {
        Ok(self.role(role)?.map(|token| token.content))
    }

    /// A special token without which there is no such tokenizer.
    pub(super) fn required_token(&self, role: &str) -> Result<String> {
        self.special_token(role)?.ok_or_else(|| unexpected(role, &Value::Null, "a token"))
    }

    /// The special tokens of two roles that enclose a sequence, with their ids.
    ///
    /// # Errors
    /// A token that is null, or that the tokenizer does not have: those added to the vocabulary
    /// are there, but for an empty one.
    pub(super) fn end_tokens(
        &self,
        roles: [&str; 2],
        tokenizer: &Tokenizer,
    ) -> Result<[(String, u32); 2]> {
        let [first, last] = roles.map(|role| {
            let token = self.required_token(role)?;
            match tokenizer.token_to_id(&token) {
                Some(id) => Ok((token, id)),
                None => Err(unexpected(role, &token.into(), "a token of the vocabulary")),
            }
        });
        Ok([first?, last?])
    }

    fn role(&self, role: &str) -> Result<Option<AddedToken>> {
        match self.get(role) {
            Some(Value::String(text)) => Ok(Some(self.class.special_token(role, text))),
            Some(value) => token(role, value),
            None => {
                let usual = self.class.tokens.iter().find(|(known, _)| *known == role);
                Ok(usual.map(|(_, text)| self.class.special_token(role, text)))
            }
        }
    }

    /// The tokens that are recognised wherever they are in a text, in the order in which
    /// those beyond the vocabulary get their ids: first those whose ids a file names, such
    /// as `tokenizer.json`, then special ones, then those of the class where it has its own
    /// instead of `extra_special_tokens`.
    pub(super) fn added_tokens(
        &self,
        assets: &Assets,
        of_tokenizer_json: Vec<(u64, AddedToken)>,
        of_class: Option<Vec<AddedToken>>,
        tokenizer: &Tokenizer,
    ) -> Result<Vec<AddedToken>> {
        let present: HashSet<_> = tokenizer.get_added_tokens_decoder().into_values().collect();
        let roles = ROLES.into_iter().filter_map(|role| self.role(role).transpose());
        let roles = roles.collect::<Result<Vec<_>>>()?;
        let (of_model, extra) = (self.model_tokens()?, self.extra_tokens()?);
        let contents = |tokens: &[AddedToken]| -> HashSet<String> {
            tokens.iter().map(|token| token.content.clone()).collect()
        };
        let mut named = contents(&roles);
        named.extend(contents(&of_model));
        let extra_contents = contents(&extra);
        // Names that no file has do not make these tokens special.
        let is_special = |token: &String| {
            let mut roles = ROLES.iter().filter_map(|role| content(self.get(role)?));
            extra_contents.contains(token) || roles.any(|role| role == token)
        };

        let with_ids = self.tokens_with_ids(assets, of_tokenizer_json, is_special)?;
        let mut tokens: Vec<_> = with_ids.filter(|token| !present.contains(token)).collect();
        tokens.iter_mut().for_each(|token| token.special |= named.contains(&token.content));
        let mut known = contents(&tokens);
        known.extend(present.into_iter().map(|token| token.content));

        let is_new = |token: &&AddedToken| {
            !known.contains(&token.content) && tokenizer.token_to_id(&token.content).is_none()
        };
        let new = of_model.iter().filter(is_new).count();
        if new > 1 {
            let message = format!(
                "extra_special_tokens: found {new} names of tokens without ids, expected a list: names have no order"
            );
            return Err(Error::new(ErrorKind::Unsupported, message).at(FILE));
        }
        let (extra, of_class) = match of_class {
            None => (extra, Vec::new()),
            Some(tokens) => (Vec::new(), tokens),
        };
        let mut special: Vec<_> = roles.into_iter().chain(of_model).chain(extra).collect();
        special.iter_mut().for_each(|token| token.special = true);
        let new = special.into_iter().chain(of_class);
        tokens.extend(new.filter(|token| known.insert(token.content.clone())));
        Ok(tokens)
    }

    /// The tokens whose ids a file names, by their ids.
    fn tokens_with_ids(
        &self,
        assets: &Assets,
        of_tokenizer_json: Vec<(u64, AddedToken)>,
        is_special: impl Fn(&String) -> bool,
    ) -> Result<impl Iterator<Item = AddedToken>> {
        const KEY: &str = "added_tokens_decoder";
        let mut tokens = BTreeMap::new();
        if let Some(Value::Object(found)) = self.get(KEY) {
            for (id, value) in found {
                let found = id.parse::<u64>().ok().zip(token(KEY, value)?);
                let (id, token) = found
                    .ok_or_else(|| unexpected(KEY, &id.as_str().into(), "a token by its id"))?;
                tokens.insert(id, token);
            }
        } else {
            let file: Map<String, Value> = assets.json("added_tokens.json")?.unwrap_or_default();
            for (content, id) in file {
                let is_special = is_special(&content);
                let token = AddedToken::from(content, is_special);
                tokens.insert(id.as_u64().unwrap_or(u64::MAX), token);
            }
            tokens.extend(of_tokenizer_json);
        }
        Ok(tokens.into_values())
    }

    /// The special tokens of a model that have names of their own.
    fn model_tokens(&self) -> Result<Vec<AddedToken>> {
        let is_own = |(key, value): &(&String, &Value)| {
            let is_token = value.is_string() || value.is_object();
            key.ends_with("_token") && !ROLES.contains(&key.as_str()) && is_token
        };
        let named = self.get("extra_special_tokens").and_then(Value::as_object);
        let all = self.values.iter().filter(is_own).chain(named.into_iter().flatten());
        all.filter_map(|(key, value)| token(key, value).transpose()).collect()
    }

    /// The special tokens that have none.
    fn extra_tokens(&self) -> Result<Vec<AddedToken>> {
        const KEY: &str = "extra_special_tokens";
        let list = self.get(KEY).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|value| token(KEY, value).transpose()).collect()
    }
}

/// The name of the list before transformers 5.
fn rename_extra_tokens(values: &mut Map<String, Value>) {
    let is_empty = |value: &Value| match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(tokens) => tokens.is_empty(),
        other => other.is_null(),
    };
    if values.get("extra_special_tokens").is_none_or(is_empty)
        && let Some(list) = values.remove("additional_special_tokens")
    {
        values.insert("extra_special_tokens".to_owned(), list);
    }
}

/// Puts a value of `special_tokens_map.json` in the place of another.
fn merge(values: &mut Map<String, Value>, key: String, mut value: Value) {
    let known = values.get_mut(&key).and_then(Value::as_array_mut);
    if let ("extra_special_tokens", Some(known), Value::Array(more)) =
        (key.as_str(), known, &mut value)
    {
        more.retain(|token| !known.contains(token));
        known.append(more);
        return;
    }
    if let Value::Object(token) = &mut value
        && key != "extra_special_tokens"
    {
        token.insert("special".to_owned(), true.into());
    }
    values.insert(key, value);
}

fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}

/// A token, which stands alone or in an object with its flags.
fn token(key: &str, value: &Value) -> Result<Option<AddedToken>> {
    if value.is_null() {
        return Ok(None);
    }
    let content = content(value).ok_or_else(|| unexpected(key, value, "a token"))?;
    let flag = |flag: &str| value.get(flag).and_then(Value::as_bool);
    let is_special = value.is_string() || flag("special") == Some(true);
    Ok(Some(
        AddedToken::from(content, is_special)
            .single_word(flag("single_word").unwrap_or(false))
            .lstrip(flag("lstrip").unwrap_or(false))
            .rstrip(flag("rstrip").unwrap_or(false))
            .normalized(flag("normalized").unwrap_or(!is_special)),
    ))
}

fn unexpected(key: &str, found: &Value, expected: &str) -> Error {
    let message = format!("{key}: found {found}, expected {expected}");
    Error::new(ErrorKind::Config, message).at(FILE)
}

#[cfg(test)]
mod tests {
    use crate::assets::Assets;
    use crate::text::Tokenizer;
    use serde_json::json;

    fn opened(class: &str, role: &str, token: &str) -> crate::error::Result<Tokenizer> {
        let pieces = ["<s>", "<pad>", "</s>", "<unk>", "[CLS]", "[SEP]", "[UNK]"];
        let (model, vocab) = match class {
            "BertTokenizer" | "MPNetTokenizer" => ("WordPiece", json!({"[UNK]": 0, "<unk>": 1})),
            "RobertaTokenizer" => ("BPE", json!({"a": 0})),
            _ => ("Unigram", json!(pieces.map(|piece| (piece, 0.0)))),
        };
        let model = json!({"type": model, "vocab": vocab, "merges": [], "unk_id": 3,
            "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100});
        let json = json!({"version": "1.0", "added_tokens": [], "normalizer": null,
            "pre_tokenizer": null, "post_processor": null, "decoder": null, "model": model});
        let config = json!({"tokenizer_class": class, role: token});
        let files = [("tokenizer.json", json), ("tokenizer_config.json", config)];
        let files = files.map(|(name, file)| (name.to_owned(), file.to_string().into_bytes()));
        Tokenizer::from_assets(&files.into_iter().collect::<Assets>())
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes long")]
    fn tokens_that_enclose_a_sequence_have_ids() {
        for (class, roles) in [
            ("BertTokenizer", ["cls_token", "sep_token"]),
            ("MPNetTokenizer", ["cls_token", "sep_token"]),
            ("RobertaTokenizer", ["cls_token", "sep_token"]),
            ("XLMRobertaTokenizer", ["bos_token", "eos_token"]),
            ("CamembertTokenizer", ["bos_token", "eos_token"]),
            ("AlbertTokenizer", ["cls_token", "sep_token"]),
            ("DebertaV2Tokenizer", ["cls_token", "sep_token"]),
        ] {
            for role in roles {
                let error = opened(class, role, "").unwrap_err().to_string();
                let message = format!(
                    "tokenizer_config.json: {role}: found \"\", expected a token of the vocabulary"
                );
                assert_eq!(error, message, "{class}");
                // Those that the vocabulary lacks are added to it, but by ALBERT after its template.
                let new = opened(class, role, "<new>");
                assert_eq!(new.is_ok(), class != "AlbertTokenizer", "{class} {role}");
            }
        }
    }
}
