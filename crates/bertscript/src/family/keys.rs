//! The keys of a `config.json`, read one by one. An absent key has the default of transformers'
//! configuration class, and so has a null, but for `pad_token_id` and `num_labels`; what is not
//! understood is refused by name.

use super::labels;
use crate::activation::{ACTIVATIONS, Activation};
use crate::error::{Error, ErrorKind, Result};
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// Rows of an embedding: token ids, token types, positions.
pub(super) const MAX_ROWS: i64 = 1 << 24;
/// Widths of hidden states and of the feed-forward layer.
pub(super) const MAX_WIDTH: i64 = 1 << 20;
pub(super) const MAX_LAYERS: i64 = 1 << 10;
pub(super) const MAX_ATTENTION_HEADS: i64 = 1 << 16;

/// The keys of a `config.json`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Keys(Map<String, Value>);

impl Keys {
    /// # Errors
    /// [`ErrorKind::Config`] for what is no JSON object.
    pub(crate) fn from_json(text: &[u8]) -> Result<Self> {
        serde_json::from_slice(text)
            .map(Self)
            .map_err(|error| Error::new(ErrorKind::Config, error.to_string()))
    }

    /// The value of a key that is there and is not null.
    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// The value of a key that is there, null or not.
    pub(super) fn given(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Of two names of one key, that which is there.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if both are, with different values.
    pub(super) fn either<'a>(&self, [own, other]: [&'a str; 2]) -> Result<&'a str> {
        match (self.value(own), self.value(other)) {
            (Some(one), Some(two)) if one != two => {
                let (one, two) = (shown(one), shown(two));
                Err(invalid(own, &format!("found {one}, but {two} of {other}, which is the same")))
            }
            (None, Some(_)) => Ok(other),
            _ => Ok(own),
        }
    }

    /// The keys of an object.
    pub(super) fn object(&self, key: &str) -> Result<Option<Self>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let object = value.as_object().ok_or_else(|| expected(key, value, "an object"))?;
        Ok(Some(Self(object.clone())))
    }

    /// A size, 1 to `most`.
    pub(super) fn size(&self, key: &str, default: i64, most: i64) -> Result<i64> {
        self.number(key, default, 1..=most)
    }

    /// A whole number within bounds.
    pub(super) fn number(
        &self,
        key: &str,
        default: i64,
        bounds: RangeInclusive<i64>,
    ) -> Result<i64> {
        let Some(value) = self.value(key) else { return Ok(default) };
        let number = value.as_i64().filter(|number| bounds.contains(number));
        let bounds = || format!("{} to {}", bounds.start(), bounds.end());
        number.ok_or_else(|| expected(key, value, &bounds()))
    }

    /// The number of token ids. (pytorch-pretrained-bert and pytorch-transformers wrote the
    /// long name.)
    pub(super) fn vocab_size(&self, default: i64) -> Result<i64> {
        let old = "vocab_size_or_config_json_file";
        let key = if self.value("vocab_size").is_some() { "vocab_size" } else { old };
        self.size(key, default, MAX_ROWS)
    }

    /// The id of the padding token; none if it is null.
    pub(super) fn pad_token_id(&self, default: i64) -> Result<Option<i64>> {
        let key = "pad_token_id";
        match self.given(key) {
            None => Ok(Some(default)),
            Some(Value::Null) => Ok(None),
            Some(value) => match value.as_i64() {
                Some(id) => Ok(Some(id)),
                None => Err(expected(key, value, "a token id")),
            },
        }
    }

    /// A number of at least 0.
    pub(crate) fn float(&self, key: &str, default: f64) -> Result<f64> {
        let Some(value) = self.value(key) else { return Ok(default) };
        let number = value.as_f64().filter(|number| number.is_finite() && *number >= 0.);
        number.ok_or_else(|| expected(key, value, "a number of at least 0"))
    }

    pub(crate) fn flag(&self, key: &str, default: bool) -> Result<bool> {
        let Some(value) = self.value(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| expected(key, value, "true or false"))
    }

    pub(crate) fn string(&self, key: &str) -> Result<Option<&str>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| expected(key, value, "a string"))
    }

    pub(crate) fn strings(&self, key: &str) -> Result<Vec<String>> {
        let Some(value) = self.value(key) else { return Ok(Vec::new()) };
        let strings = value.as_array().and_then(|values| {
            values.iter().map(|value| value.as_str().map(str::to_owned)).collect()
        });
        strings.ok_or_else(|| expected(key, value, "a list of strings"))
    }

    pub(super) fn activation(&self, key: &str) -> Result<Activation> {
        self.activation_or(key, Activation::Gelu)
    }

    pub(super) fn activation_or(&self, key: &str, default: Activation) -> Result<Activation> {
        let Some(name) = self.string(key)? else { return Ok(default) };
        Activation::from_name(name).ok_or_else(|| {
            let known: Vec<_> = ACTIVATIONS.iter().map(|(name, _)| *name).collect();
            let known = known.join(", ");
            let message = format!("{key}: unknown activation {name:?}, known are {known}");
            Error::new(ErrorKind::Unsupported, message)
        })
    }

    /// The names of the labels, by index.
    pub(crate) fn labels(&self) -> Result<Vec<String>> {
        labels::read(self)
    }

    /// The number of labels.
    pub(super) fn num_labels(&self) -> Result<i64> {
        Ok(self.labels()?.len() as i64)
    }

    /// Refuses a key that has another value than this one.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] with what was found.
    pub(crate) fn expect(&self, key: &str, only: impl Into<Value>) -> Result<()> {
        let only = only.into();
        // 1 and 1.0 are one number.
        let is_same = |value: &Value| {
            *value == only || value.as_f64().is_some_and(|number| only.as_f64() == Some(number))
        };
        match self.value(key) {
            Some(value) if !is_same(value) => Err(unsupported(key, value, &only.to_string())),
            _ => Ok(()),
        }
    }

    /// Refuses a key that has another value than this one, or none where the default is
    /// another.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] with what was found.
    pub(super) fn require<V: Into<Value>>(&self, key: &str, default: V, only: V) -> Result<()> {
        let (default, only) = (default.into(), only.into());
        match self.value(key) {
            None if default != only => Err(unsupported(key, &default, &only.to_string())),
            _ => self.expect(key, only),
        }
    }

    /// Refuses a key that says anything.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] with what was found.
    pub(crate) fn expect_empty(&self, key: &str, what: &str) -> Result<()> {
        match self.value(key) {
            None => Ok(()),
            Some(Value::Object(map)) if map.is_empty() => Ok(()),
            Some(value) => Err(unsupported(key, value, what)),
        }
    }
}

pub(super) fn invalid(key: &str, message: &str) -> Error {
    Error::new(ErrorKind::Config, format!("{key}: {message}"))
}

fn expected(key: &str, found: &Value, what: &str) -> Error {
    invalid(key, &format!("found {}, expected {what}", shown(found)))
}

/// The refusal of a value, where only `only` is supported.
pub(super) fn unsupported(key: &str, found: &Value, only: &str) -> Error {
    let message = format!("{key}: found {}, but only {only} is supported", shown(found));
    Error::new(ErrorKind::Unsupported, message)
}

/// Refuses heads that are not all of one width; both with the names of their keys.
pub(super) fn check_heads(
    (hidden_key, hidden_size): (&str, i64),
    (heads_key, heads): (&str, i64),
) -> Result<()> {
    if hidden_size % heads == 0 {
        return Ok(());
    }
    Err(invalid(hidden_key, &format!("{hidden_size} is no multiple of {heads_key}, {heads}")))
}

/// A value as a message shows it: not more of it than fits a line.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Array(values) => format!("a list of {}", values.len()),
        Value::Object(map) => format!("an object of {} keys", map.len()),
        Value::String(text) if text.len() > 64 => format!("a string of {} bytes", text.len()),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Keys {
        Keys::from_json(text.as_bytes()).unwrap()
    }

    #[test]
    fn absent_keys_and_null_have_the_default() {
        for keys in [keys("{}"), keys(r#"{"size": null, "flag": null, "float": null}"#)] {
            assert_eq!(keys.size("size", 7, 8).unwrap(), 7);
            assert!(keys.flag("flag", true).unwrap());
            assert_eq!(keys.float("float", 0.5).unwrap(), 0.5);
        }
        assert_eq!(keys("{}").pad_token_id(1).unwrap(), Some(1));
        assert_eq!(keys(r#"{"pad_token_id": null}"#).pad_token_id(1).unwrap(), None);
    }

    #[test]
    fn two_names_of_one_key_agree() {
        assert_eq!(keys(r#"{"dim": 3}"#).either(["dim", "hidden_size"]).unwrap(), "dim");
        let other = keys(r#"{"hidden_size": 3}"#);
        assert_eq!(other.either(["dim", "hidden_size"]).unwrap(), "hidden_size");
        let both = keys(r#"{"dim": 3, "hidden_size": 4}"#);
        let error = both.either(["dim", "hidden_size"]).unwrap_err().to_string();
        assert_eq!(error, "dim: found 3, but 4 of hidden_size, which is the same");
    }

    #[test]
    fn messages_name_the_key_and_what_was_found() {
        let keys =
            keys(r#"{"a": 9, "b": 1.5, "c": "x", "d": -1, "e": [1], "f": {"g": 1}, "i": true}"#);
        let found = |result: Result<i64>| result.unwrap_err().to_string();
        assert_eq!(found(keys.size("a", 1, 8)), "a: found 9, expected 1 to 8");
        assert_eq!(found(keys.size("b", 1, 8)), "b: found 1.5, expected 1 to 8");
        assert_eq!(found(keys.size("c", 1, 8)), "c: found \"x\", expected 1 to 8");
        let error = keys.float("d", 0.).unwrap_err();
        assert_eq!(error.to_string(), "d: found -1, expected a number of at least 0");
        let error = keys.strings("e").unwrap_err();
        assert_eq!(error.to_string(), "e: found a list of 1, expected a list of strings");
        let error = keys.expect("i", false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(error.to_string(), "i: found true, but only false is supported");
        let error = keys.expect_empty("f", "nothing").unwrap_err();
        assert_eq!(
            error.to_string(),
            "f: found an object of 1 keys, but only nothing is supported"
        );
    }
}
