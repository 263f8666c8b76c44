//! Architectures: the one place that knows them all.

mod bert;
mod pretrained;
mod survey;

pub use pretrained::{LoadOptions, LoadReport, PreTrained};
pub use survey::Survey;

use crate::config::BertConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::nn::{AttentionForm, VarlenBatch};
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
    /// Both heads of BERT's pre-training.
    BertForPreTraining,
    /// A score for every token of the vocabulary, at every position.
    BertForMaskedLM,
    /// Whether one sentence follows another.
    BertForNextSentencePrediction,
    /// Labels, or one number, for a text.
    BertForSequenceClassification,
    /// A label for every token.
    BertForTokenClassification,
    /// The start and the end of an answer.
    BertForQuestionAnswering,
    /// A score for each of several texts; the inputs are `[B,C,S]`.
    BertForMultipleChoice,
}

/// A dimension of an input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dim {
    /// The batch size, `B`.
    Batch,
    /// The number of choices, `C`.
    Choice,
    /// Every choice of the batch, `BC`.
    BatchChoice,
    /// The sequence length, `S`.
    Sequence,
    /// A size that the configuration fixes.
    Fixed(i64),
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch => f.write_str("B"),
            Self::Choice => f.write_str("C"),
            Self::BatchChoice => f.write_str("BC"),
            Self::Sequence => f.write_str("S"),
            Self::Fixed(size) => write!(f, "{size}"),
        }
    }
}

impl FromStr for Dim {
    type Err = Error;

    fn from_str(symbol: &str) -> Result<Self> {
        Ok(match symbol {
            "B" => Self::Batch,
            "C" => Self::Choice,
            "BC" => Self::BatchChoice,
            "S" => Self::Sequence,
            size => Self::Fixed(size.parse().map_err(|_| {
                let message = format!("unknown dimension {size:?}, expected B, C, BC, S or a size");
                Error::new(ErrorKind::Archive, message)
            })?),
        })
    }
}

/// An output: its name in transformers and its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSpec {
    /// The name.
    pub name: String,
    /// The dimensions.
    pub shape: Vec<Dim>,
}

/// The inputs of a model, as tensors of one device.
#[derive(Clone, Copy)]
pub(crate) struct ModelInputs<'a> {
    input_ids: &'a Tensor,
    attention_mask: Option<&'a Tensor>,
    token_type_ids: &'a Tensor,
    varlen: Option<&'a VarlenBatch>,
}

impl<'a> ModelInputs<'a> {
    /// Ids and types `[B,S]` (of multiple choice `[B,C,S]`) of int64 or int32; the mask has
    /// the same shape, 1 where a token takes part; without it all do.
    pub(crate) fn padded(
        input_ids: &'a Tensor,
        attention_mask: Option<&'a Tensor>,
        token_type_ids: &'a Tensor,
    ) -> Self {
        Self { input_ids, attention_mask, token_type_ids, varlen: None }
    }

    /// One row `[1,T]` of several sequences.
    pub(crate) fn varlen(batch: &'a VarlenBatch) -> Self {
        let VarlenBatch { input_ids, token_type_ids, .. } = batch;
        Self { input_ids, attention_mask: None, token_type_ids, varlen: Some(batch) }
    }
}

/// What a model computed.
pub(crate) struct ModelOutputs {
    /// In the order of [`Architecture::outputs`]
    pub(crate) outputs: Vec<Tensor>,
    /// The embeddings and the result of every layer, `[B,S,H]` each
    pub(crate) hidden_states: Vec<Tensor>,
    /// The attention probabilities of every layer, `[B,heads,S,S]` each; none
    /// from SDPA
    pub(crate) attentions: Vec<Tensor>,
}

/// A model whose weights are loaded. It may be traced on another thread than
/// the one that loaded it.
pub(crate) trait Model: Send + Sync {
    /// Runs it.
    fn forward(&self, inputs: ModelInputs<'_>) -> Result<ModelOutputs>;
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
    pub const ALL: [Self; 8] = [
        Self::BertModel,
        Self::BertForPreTraining,
        Self::BertForMaskedLM,
        Self::BertForNextSentencePrediction,
        Self::BertForSequenceClassification,
        Self::BertForTokenClassification,
        Self::BertForQuestionAnswering,
        Self::BertForMultipleChoice,
    ];

    /// transformers' name.
    pub fn name(self) -> &'static str {
        match self {
            Self::BertModel => "BertModel",
            Self::BertForPreTraining => "BertForPreTraining",
            Self::BertForMaskedLM => "BertForMaskedLM",
            Self::BertForNextSentencePrediction => "BertForNextSentencePrediction",
            Self::BertForSequenceClassification => "BertForSequenceClassification",
            Self::BertForTokenClassification => "BertForTokenClassification",
            Self::BertForQuestionAnswering => "BertForQuestionAnswering",
            Self::BertForMultipleChoice => "BertForMultipleChoice",
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

    /// The shape of every input.
    pub fn input_shape(self) -> &'static [Dim] {
        match self {
            Self::BertForMultipleChoice => &[Dim::Batch, Dim::Choice, Dim::Sequence],
            _ => &[Dim::Batch, Dim::Sequence],
        }
    }

    /// The outputs of its head, in the order in which the model returns them.
    pub fn outputs(self, config: &BertConfig) -> Vec<OutputSpec> {
        use Dim::{Batch, Choice, Fixed, Sequence};
        let (hidden, vocab) = (Fixed(config.hidden_size), Fixed(config.vocab_size));
        let labels = Fixed(config.labels.len() as i64);
        let output =
            |name: &str, shape: &[Dim]| OutputSpec { name: name.to_owned(), shape: shape.to_vec() };
        match self {
            Self::BertModel => vec![
                output("last_hidden_state", &[Batch, Sequence, hidden]),
                output("pooler_output", &[Batch, hidden]),
            ],
            Self::BertForPreTraining => vec![
                output("prediction_logits", &[Batch, Sequence, vocab]),
                output("seq_relationship_logits", &[Batch, Fixed(2)]),
            ],
            Self::BertForMaskedLM => vec![output("logits", &[Batch, Sequence, vocab])],
            Self::BertForNextSentencePrediction => vec![output("logits", &[Batch, Fixed(2)])],
            Self::BertForSequenceClassification => vec![output("logits", &[Batch, labels])],
            Self::BertForTokenClassification => vec![output("logits", &[Batch, Sequence, labels])],
            Self::BertForQuestionAnswering => vec![
                output("start_logits", &[Batch, Sequence]),
                output("end_logits", &[Batch, Sequence]),
            ],
            Self::BertForMultipleChoice => vec![output("logits", &[Batch, Choice])],
        }
    }

    /// Whether the labels of the configuration name its outputs.
    pub(crate) fn has_labels(self) -> bool {
        matches!(self, Self::BertForSequenceClassification | Self::BertForTokenClassification)
    }

    /// Whether the encoder's parameters stand under `bert.`.
    pub(crate) fn has_base_prefix(self) -> bool {
        self != Self::BertModel
    }

    /// The parameters that it ties.
    pub(crate) fn ties(self) -> &'static [Tie] {
        match self {
            Self::BertForMaskedLM | Self::BertForPreTraining => &EMBEDDING_TIES,
            _ => &[],
        }
    }

    /// Builds the model from its weights.
    pub(crate) fn load(
        self,
        w: &Weights,
        config: &BertConfig,
        form: AttentionForm,
    ) -> Result<Box<dyn Model>> {
        Ok(match self {
            Self::BertModel => Box::new(bert::BertModel::load(w, config, form)?),
            Self::BertForPreTraining => Box::new(bert::BertForPreTraining::load(w, config, form)?),
            Self::BertForMaskedLM => Box::new(bert::BertForMaskedLm::load(w, config, form)?),
            Self::BertForNextSentencePrediction => {
                Box::new(bert::BertForNextSentencePrediction::load(w, config, form)?)
            }
            Self::BertForSequenceClassification => {
                Box::new(bert::BertForSequenceClassification::load(w, config, form)?)
            }
            Self::BertForTokenClassification => {
                Box::new(bert::BertForTokenClassification::load(w, config, form)?)
            }
            Self::BertForQuestionAnswering => {
                Box::new(bert::BertForQuestionAnswering::load(w, config, form)?)
            }
            Self::BertForMultipleChoice => {
                Box::new(bert::BertForMultipleChoice::load(w, config, form)?)
            }
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
