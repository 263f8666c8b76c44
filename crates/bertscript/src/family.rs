//! Families of encoders, as data: what the classes of transformers compute, and what their
//! parameters are called. No tensor is in here.
//!
//! A family is a function from the keys of `config.json` to an [`spec::Encoder`] and its
//! heads. The traced model and every engine interpret that description; the names of
//! parameters, their shapes and ties, and the outputs of a model are derived from it.

mod albert;
mod bert;
mod deberta_v2;
mod distilbert;
mod electra;
mod ernie;
mod file_names;
pub(crate) mod init;
mod keys;
mod labels;
mod megatron_bert;
pub(crate) mod model;
mod modernbert;
mod mpnet;
mod nomic_bert;
pub(crate) mod relative_positions;
mod roberta;
mod rope;
pub(crate) mod spec;

pub(crate) use file_names::FileNames;
pub(crate) use keys::Keys;

use crate::error::{Error, ErrorKind, Result};
use spec::{Encoder, Head};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// What a model is for: the end of its class name in transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// Hidden states, and in some families the pooled first token.
    Model,
    /// The heads of the family's pre-training.
    PreTraining,
    /// A score for every token of the vocabulary, at every position.
    MaskedLM,
    /// Whether one sentence follows another.
    NextSentencePrediction,
    /// Labels, or one number, for a text.
    SequenceClassification,
    /// A label for every token.
    TokenClassification,
    /// The start and the end of an answer.
    QuestionAnswering,
    /// A score for each of several texts; the inputs are `[B,C,S]`.
    MultipleChoice,
}

impl Task {
    /// Every task.
    pub const ALL: [Self; 8] = [
        Self::Model,
        Self::PreTraining,
        Self::MaskedLM,
        Self::NextSentencePrediction,
        Self::SequenceClassification,
        Self::TokenClassification,
        Self::QuestionAnswering,
        Self::MultipleChoice,
    ];

    /// The end of the class names, such as `ForMaskedLM`.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Model => "Model",
            Self::PreTraining => "ForPreTraining",
            Self::MaskedLM => "ForMaskedLM",
            Self::NextSentencePrediction => "ForNextSentencePrediction",
            Self::SequenceClassification => "ForSequenceClassification",
            Self::TokenClassification => "ForTokenClassification",
            Self::QuestionAnswering => "ForQuestionAnswering",
            Self::MultipleChoice => "ForMultipleChoice",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.suffix())
    }
}

/// A family of encoders: one row of [`FAMILIES`], in a short file with those that are alike.
pub(crate) struct Family {
    /// `model_type` of `config.json`
    pub(crate) model_type: &'static str,
    /// The beginning of its class names
    pub(crate) class: &'static str,
    /// The prefix of the encoder's parameters in a model with a head
    pub(crate) base_prefix: &'static str,
    pub(crate) file_names: &'static FileNames,
    /// The tasks that it has a class for
    pub(crate) tasks: &'static [Task],
    pub(crate) encoder: fn(&Keys) -> Result<Encoder>,
    /// The heads of a task's class, in the order of their outputs
    pub(crate) heads: fn(Task, &Encoder, &Keys) -> Result<Vec<Head>>,
}

/// Every family.
pub(crate) static FAMILIES: [Family; 17] = [
    bert::BERT,
    ernie::ERNIE,
    roberta::ROBERTA,
    roberta::XLM_ROBERTA,
    roberta::CAMEMBERT,
    roberta::DATA2VEC_TEXT,
    distilbert::DISTILBERT,
    electra::ELECTRA,
    albert::ALBERT,
    mpnet::MPNET,
    deberta_v2::DEBERTA_V2,
    modernbert::MODERNBERT,
    nomic_bert::NOMIC_BERT,
    nomic_bert::GTE,
    nomic_bert::JINA_EMBEDDINGS_V3,
    megatron_bert::MEGATRON_BERT,
    megatron_bert::XLM_ROBERTA_XL,
];

impl Family {
    /// The family of a `model_type`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] with the types that there are.
    pub(crate) fn of_model_type(model_type: &str) -> Result<&'static Self> {
        FAMILIES.iter().find(|family| family.model_type == model_type).ok_or_else(|| {
            let known = listed(|family| format!("{:?}", family.model_type));
            let message =
                format!("model_type: found {model_type:?}, but only {known} is supported");
            Error::new(ErrorKind::Unsupported, message)
        })
    }
}

/// Of every family, a word.
fn listed(word: impl Fn(&Family) -> String) -> String {
    FAMILIES.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// A model class of transformers, such as `BertForMaskedLM`: a family and a task.
#[derive(Clone, Copy)]
pub struct Architecture {
    family: &'static Family,
    task: Task,
}

impl Architecture {
    /// Every architecture.
    pub fn all() -> impl Iterator<Item = Self> {
        let of = |family: &'static Family| {
            family.tasks.iter().map(move |task| Self { family, task: *task })
        };
        FAMILIES.iter().flat_map(of)
    }

    /// The name of its class in transformers.
    pub fn name(self) -> String {
        self.to_string()
    }

    /// `model_type` of its family.
    pub fn model_type(self) -> &'static str {
        self.family.model_type
    }

    /// What it is for.
    pub fn task(self) -> Task {
        self.task
    }

    pub(crate) fn family(self) -> &'static Family {
        self.family
    }

    /// The shape of every input.
    pub fn input_shape(self) -> &'static [Dim] {
        match self.task {
            Task::MultipleChoice => &[Dim::Batch, Dim::Choice, Dim::Sequence],
            _ => &[Dim::Batch, Dim::Sequence],
        }
    }

    /// Whether the labels of the configuration name its outputs.
    pub(crate) fn has_labels(self) -> bool {
        matches!(self.task, Task::SequenceClassification | Task::TokenClassification)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.family.class, self.task)
    }
}

impl fmt::Debug for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl PartialEq for Architecture {
    fn eq(&self, other: &Self) -> bool {
        (self.family.class, self.task) == (other.family.class, other.task)
    }
}

impl Eq for Architecture {}

impl Hash for Architecture {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.family.class, self.task).hash(state);
    }
}

impl FromStr for Architecture {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::all().find(|known| known.to_string() == name).ok_or_else(|| {
            // The classes of the family that the name begins as, or else every family's first.
            let alike = FAMILIES.iter().filter(|family| name.starts_with(family.class));
            let known = match alike.max_by_key(|family| family.class.len()) {
                Some(family) => {
                    let names = family.tasks.iter().map(|task| format!("{}{task}", family.class));
                    names.collect::<Vec<_>>().join(", ")
                }
                None => format!("classes of {}", listed(|family| family.model_type.to_owned())),
            };
            let message = format!("unknown architecture {name:?}, known are {known}");
            Error::new(ErrorKind::InvalidInput, message)
        })
    }
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

impl OutputSpec {
    /// Whether it has a row for each token, rather than for each sequence.
    pub(crate) fn is_per_token(&self) -> bool {
        self.shape.contains(&Dim::Sequence)
    }
}
