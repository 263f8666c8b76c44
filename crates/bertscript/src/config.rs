//! `config.json`.
//!
//! Source: `BertConfig`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/configuration_bert.py>

use crate::activation::{ACTIVATIONS, Activation};
use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;

/// The largest BERT has four billion.
const MAX_PARAMETERS: i64 = 1 << 34;
const MAX_LABELS: usize = 1 << 20;
/// How many missing labels an error names.
const SHOWN_GAPS: usize = 4;

/// The configuration of a BERT checkpoint. It is read from `config.json` or not
/// had at all: a model has no default size. Its `dtype` (once `torch_dtype`) is
/// not read: the weights themselves say what they are.
#[derive(Debug, Clone, PartialEq)]
pub struct BertConfig {
    /// The class names in `architectures`, such as `BertForMaskedLM`.
    pub architectures: Vec<String>,
    /// Number of token ids.
    pub vocab_size: i64,
    /// Width of a hidden state, `H`.
    pub hidden_size: i64,
    /// Number of layers.
    pub num_hidden_layers: i64,
    /// Number of attention heads; divides `hidden_size`.
    pub num_attention_heads: i64,
    /// Width of the feed-forward layer.
    pub intermediate_size: i64,
    /// The activation of the feed-forward layer and of the prediction head.
    pub hidden_act: Activation,
    /// The greatest sequence length.
    pub max_position_embeddings: i64,
    /// Number of token type ids.
    pub type_vocab_size: i64,
    /// Standard deviation of initialised weights.
    pub initializer_range: f64,
    /// `eps` of every LayerNorm.
    pub layer_norm_eps: f64,
    /// The id of the padding token.
    pub pad_token_id: Option<i64>,
    /// Whether the decoder shares the weights of the embedding.
    pub tie_word_embeddings: bool,
    /// The labels of a classification head, by index (`id2label`).
    pub labels: Vec<String>,
    /// `problem_type`, where the checkpoint states one.
    pub problem_type: Option<String>,
}

/// The keys as they stand in the file.
#[derive(Deserialize)]
struct Raw {
    model_type: Option<String>,
    architectures: Option<Vec<String>>,
    vocab_size: Option<i64>,
    vocab_size_or_config_json_file: Option<Value>,
    hidden_size: Option<i64>,
    num_hidden_layers: Option<i64>,
    num_attention_heads: Option<i64>,
    intermediate_size: Option<i64>,
    hidden_act: Option<String>,
    max_position_embeddings: Option<i64>,
    type_vocab_size: Option<i64>,
    initializer_range: Option<f64>,
    layer_norm_eps: Option<f64>,
    #[serde(default = "zero")]
    pad_token_id: Option<i64>,
    position_embedding_type: Option<String>,
    is_decoder: Option<bool>,
    add_cross_attention: Option<bool>,
    tie_word_embeddings: Option<bool>,
    id2label: Option<BTreeMap<String, Value>>,
    #[serde(default, deserialize_with = "present")]
    num_labels: Option<Value>,
    problem_type: Option<String>,
    pruned_heads: Option<Value>,
    quantization_config: Option<Value>,
}

/// An absent `pad_token_id` is 0; a null one is none.
#[expect(clippy::unnecessary_wraps, reason = "serde's default has the field's type")]
fn zero() -> Option<i64> {
    Some(0)
}

/// A null is a value here, which transformers refuses.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl BertConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for malformed or contradictory values,
    /// [`ErrorKind::Unsupported`] for what this library does not do: another
    /// `model_type`, a decoder, another position type, an unknown activation,
    /// pruned heads, quantized weights. The message names the key.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        let raw: Raw = serde_json::from_slice(text)
            .map_err(|error| Error::new(ErrorKind::Config, error.to_string()))?;
        raw.refuse_unsupported()?;
        let config = Self {
            vocab_size: raw.vocab_size()?,
            hidden_act: raw.activation()?,
            labels: raw.labels()?,
            architectures: raw.architectures.unwrap_or_default(),
            hidden_size: raw.hidden_size.unwrap_or(768),
            num_hidden_layers: raw.num_hidden_layers.unwrap_or(12),
            num_attention_heads: raw.num_attention_heads.unwrap_or(12),
            intermediate_size: raw.intermediate_size.unwrap_or(3072),
            max_position_embeddings: raw.max_position_embeddings.unwrap_or(512),
            type_vocab_size: raw.type_vocab_size.unwrap_or(2),
            initializer_range: raw.initializer_range.unwrap_or(0.02),
            layer_norm_eps: raw.layer_norm_eps.unwrap_or(1e-12),
            pad_token_id: raw.pad_token_id,
            tie_word_embeddings: raw.tie_word_embeddings.unwrap_or(true),
            problem_type: raw.problem_type,
        };
        config.check()?;
        Ok(config)
    }

    /// Width of one attention head.
    pub fn head_dim(&self) -> i64 {
        self.hidden_size / self.num_attention_heads
    }

    /// Of the matrices of the encoder and a classifier: nearly all.
    fn parameter_count(&self) -> i64 {
        let rows = self.vocab_size
            + self.max_position_embeddings
            + self.type_vocab_size
            + self.labels.len() as i64;
        let layer = 4 * self.hidden_size + 2 * self.intermediate_size;
        self.hidden_size * (rows + self.num_hidden_layers * layer)
    }

    fn check(&self) -> Result<()> {
        // The bounds keep every size computed later far from overflow.
        let sizes = [
            ("vocab_size", self.vocab_size, 1 << 24),
            ("hidden_size", self.hidden_size, 1 << 20),
            ("num_hidden_layers", self.num_hidden_layers, 1 << 10),
            ("num_attention_heads", self.num_attention_heads, 1 << 16),
            ("intermediate_size", self.intermediate_size, 1 << 20),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 24),
            ("type_vocab_size", self.type_vocab_size, 1 << 24),
        ];
        for (key, value, most) in sizes {
            if !(1..=most).contains(&value) {
                return Err(invalid(key, format!("found {value}, expected 1 to {most}")));
            }
        }
        let count = self.parameter_count();
        if count > MAX_PARAMETERS {
            let message = format!(
                "a model of these sizes has {count} parameters, expected at most {MAX_PARAMETERS}"
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        if self.hidden_size % self.num_attention_heads != 0 {
            return Err(invalid(
                "hidden_size",
                format!(
                    "{} is no multiple of num_attention_heads, {}",
                    self.hidden_size, self.num_attention_heads
                ),
            ));
        }
        for (key, value) in
            [("layer_norm_eps", self.layer_norm_eps), ("initializer_range", self.initializer_range)]
        {
            if !(value.is_finite() && value >= 0.) {
                return Err(invalid(
                    key,
                    format!("found {value}, expected a number of at least 0"),
                ));
            }
        }
        if self.labels.len() == 1
            && self.problem_type.as_deref() == Some("single_label_classification")
        {
            let message = "found single_label_classification of 1 label, expected regression, multi_label_classification or more labels";
            return Err(invalid("problem_type", message.to_owned()));
        }
        match self.pad_token_id {
            Some(id) if !(0..self.vocab_size).contains(&id) => Err(invalid(
                "pad_token_id",
                format!("found {id}, expected 0 to {}", self.vocab_size - 1),
            )),
            _ => Ok(()),
        }
    }
}

impl Raw {
    fn refuse_unsupported(&self) -> Result<()> {
        let refuse = |key: &str, found: String, expected: &str| {
            Err(Error::new(
                ErrorKind::Unsupported,
                format!("{key}: found {found}, but only {expected} is supported"),
            ))
        };
        if let Some(found) = self.model_type.as_deref().filter(|found| *found != "bert") {
            return refuse("model_type", format!("{found:?}"), "\"bert\"");
        }
        if let Some(found) =
            self.position_embedding_type.as_deref().filter(|found| *found != "absolute")
        {
            return refuse("position_embedding_type", format!("{found:?}"), "\"absolute\"");
        }
        if self.is_decoder == Some(true) {
            return refuse("is_decoder", "true".to_owned(), "an encoder (false)");
        }
        if self.add_cross_attention == Some(true) {
            return refuse("add_cross_attention", "true".to_owned(), "false");
        }
        let is_set = |value: &Option<Value>| match value {
            None | Some(Value::Null) => false,
            Some(Value::Object(map)) => !map.is_empty(),
            Some(_) => true,
        };
        if is_set(&self.pruned_heads) {
            return refuse("pruned_heads", "pruned heads".to_owned(), "a model with all its heads");
        }
        if is_set(&self.quantization_config) {
            return refuse("quantization_config", "one".to_owned(), "a model without it");
        }
        Ok(())
    }

    fn vocab_size(&self) -> Result<i64> {
        // pytorch-pretrained-bert and pytorch-transformers wrote the long name.
        match (self.vocab_size, &self.vocab_size_or_config_json_file) {
            (Some(size), _) => Ok(size),
            (None, None) => Ok(30522),
            (None, Some(value)) => value.as_i64().ok_or_else(|| {
                invalid(
                    "vocab_size_or_config_json_file",
                    format!("found {value}, expected the vocabulary size"),
                )
            }),
        }
    }

    fn activation(&self) -> Result<Activation> {
        let name = self.hidden_act.as_deref().unwrap_or("gelu");
        Activation::from_name(name).ok_or_else(|| {
            let known: Vec<_> = ACTIVATIONS.iter().map(|(name, _)| *name).collect();
            Error::new(
                ErrorKind::Unsupported,
                format!("hidden_act: unknown activation {name:?}, known are {}", known.join(", ")),
            )
        })
    }

    /// The labels of `id2label`; where `num_labels` is another number than they are,
    /// that many without names, as transformers has it.
    fn labels(&self) -> Result<Vec<String>> {
        let named = self.id2label.as_ref().map(named_labels).transpose()?;
        let count = match (&self.num_labels, &named) {
            (None, Some(named)) => named.len(),
            (None, None) => 2,
            (Some(found), _) => label_count(found)?,
        };
        match named {
            Some(named) if named.len() == count => Ok(named),
            _ => Ok((0..count).map(|index| format!("LABEL_{index}")).collect()),
        }
    }
}

fn label_count(found: &Value) -> Result<usize> {
    let count = found.as_u64().and_then(|count| usize::try_from(count).ok());
    count
        .filter(|count| *count <= MAX_LABELS)
        .ok_or_else(|| invalid("num_labels", format!("found {found}, expected 0 to {MAX_LABELS}")))
}

/// The labels in the order of their ids, which must be all from 0 on.
fn named_labels(id2label: &BTreeMap<String, Value>) -> Result<Vec<String>> {
    let invalid = |message: String| Err(invalid("id2label", message));
    if id2label.len() > MAX_LABELS {
        return invalid(format!("found {} labels, expected at most {MAX_LABELS}", id2label.len()));
    }
    let mut labels = BTreeMap::new();
    for (id, label) in id2label {
        let Ok(index) = id.parse::<usize>() else {
            return invalid(format!("found the id {id:?}, expected a number"));
        };
        let label = match label {
            Value::String(label) => label.clone(),
            Value::Number(label) => label.to_string(),
            other => {
                return invalid(format!("{id}: found {other}, expected a string or a number"));
            }
        };
        if labels.insert(index, label).is_some() {
            return invalid(format!("found the id {index} twice, in different spellings"));
        }
    }
    let last = labels.last_key_value().map_or(0, |(last, _)| *last);
    let gaps = (0..last).filter(|index| !labels.contains_key(index));
    let gaps: Vec<_> = gaps.take(SHOWN_GAPS).map(|index| index.to_string()).collect();
    if !gaps.is_empty() {
        let more = if gaps.len() == SHOWN_GAPS { " .." } else { "" };
        let gaps = gaps.join(", ");
        return invalid(format!("found no label of {gaps}{more}, expected all of 0 to {last}"));
    }
    Ok(labels.into_values().collect())
}

fn invalid(key: &str, message: String) -> Error {
    Error::new(ErrorKind::Config, format!("{key}: {message}"))
}
