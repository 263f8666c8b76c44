//! Architectures: the one place that knows them all.

mod bert;
mod pretrained;

pub use pretrained::{LoadOptions, LoadReport, PreTrained};

use crate::config::BertConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::untie::Tie;
use crate::weights::Weights;
use std::fmt;
use std::str::FromStr;
use tch::Tensor;

/// A model class, by transformers' name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// Hidden states and the pooled first token.
    BertModel,
    /// A score for every token of the vocabulary, at every position.
    BertForMaskedLM,
    /// Both heads of BERT's pre-training.
    BertForPreTraining,
}

/// A dimension of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dim {
    /// The batch size, `B`.
    Batch,
    /// The sequence length, `S`.
    Sequence,
    /// A size that the configuration fixes.
    Fixed(i64),
}

/// An output: its name in transformers and its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSpec {
    /// The name.
    pub name: &'static str,
    /// The dimensions.
    pub shape: Vec<Dim>,
}

/// The inputs of a model, as tensors of one device.
#[derive(Clone, Copy)]
pub(crate) struct ModelInputs<'a> {
    /// `[B,S]` of int64 or int32
    pub(crate) input_ids: &'a Tensor,
    /// `[B,S]`, 1 where a token takes part; without it all do
    pub(crate) attention_mask: Option<&'a Tensor>,
    /// `[B,S]` of int64 or int32
    pub(crate) token_type_ids: &'a Tensor,
}

/// A model whose weights are loaded.
pub(crate) trait Model {
    /// Runs it. The outputs come in the order of [`Architecture::outputs`].
    fn forward(&self, inputs: ModelInputs<'_>) -> Result<Vec<Tensor>>;
}

const EMBEDDING_TIES: [Tie; 2] = [
    Tie {
        source: "bert.embeddings.word_embeddings.weight",
        target: "cls.predictions.decoder.weight",
    },
    Tie { source: "cls.predictions.bias", target: "cls.predictions.decoder.bias" },
];

impl Architecture {
    /// Every architecture.
    pub const ALL: [Self; 3] = [Self::BertModel, Self::BertForMaskedLM, Self::BertForPreTraining];

    /// transformers' name.
    pub fn name(self) -> &'static str {
        match self {
            Self::BertModel => "BertModel",
            Self::BertForMaskedLM => "BertForMaskedLM",
            Self::BertForPreTraining => "BertForPreTraining",
        }
    }

    /// The architecture that a configuration names.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if it names none, or one that is not known.
    pub fn from_config(config: &BertConfig) -> Result<Self> {
        match config.architectures.first() {
            Some(name) => name.parse().map_err(|error: Error| {
                Error::new(ErrorKind::Unsupported, format!("architectures: {error}"))
            }),
            None => Err(Error::new(
                ErrorKind::Unsupported,
                format!("architectures: none is named here; choose one of {}", known_names()),
            )),
        }
    }

    /// The outputs, in the order in which the model returns them.
    pub fn outputs(self, config: &BertConfig) -> Vec<OutputSpec> {
        let (hidden, vocab) = (config.hidden_size, config.vocab_size);
        let output = |name, shape: &[Dim]| OutputSpec { name, shape: shape.to_vec() };
        match self {
            Self::BertModel => vec![
                output("last_hidden_state", &[Dim::Batch, Dim::Sequence, Dim::Fixed(hidden)]),
                output("pooler_output", &[Dim::Batch, Dim::Fixed(hidden)]),
            ],
            Self::BertForMaskedLM => {
                vec![output("logits", &[Dim::Batch, Dim::Sequence, Dim::Fixed(vocab)])]
            }
            Self::BertForPreTraining => vec![
                output("prediction_logits", &[Dim::Batch, Dim::Sequence, Dim::Fixed(vocab)]),
                output("seq_relationship_logits", &[Dim::Batch, Dim::Fixed(2)]),
            ],
        }
    }

    /// Whether the encoder's parameters stand under `bert.`.
    pub(crate) fn has_base_prefix(self) -> bool {
        self != Self::BertModel
    }

    /// The parameters that it ties.
    pub(crate) fn ties(self) -> &'static [Tie] {
        match self {
            Self::BertModel => &[],
            Self::BertForMaskedLM | Self::BertForPreTraining => &EMBEDDING_TIES,
        }
    }

    /// Builds the model from its weights.
    pub(crate) fn load(self, w: &Weights, config: &BertConfig) -> Result<Box<dyn Model>> {
        Ok(match self {
            Self::BertModel => Box::new(bert::BertModel::load(w, config)?),
            Self::BertForMaskedLM => Box::new(bert::BertForMaskedLm::load(w, config)?),
            Self::BertForPreTraining => Box::new(bert::BertForPreTraining::load(w, config)?),
        })
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Architecture {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|architecture| architecture.name() == name).ok_or_else(|| {
            let message = format!("unknown architecture {name:?}, known are {}", known_names());
            Error::new(ErrorKind::InvalidInput, message)
        })
    }
}

fn known_names() -> String {
    Architecture::ALL.map(Architecture::name).join(", ")
}
