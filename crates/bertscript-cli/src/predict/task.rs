//! What is done with the texts.

use anyhow::bail;
use bertscript::{Module, Task as ModelTask};
use clap::ValueEnum;

/// What is done with the texts.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Task {
    Classify,
    Rank,
    ZeroShot,
    Entities,
    Answer,
    FillMask,
    NextSentence,
    Similarity,
}

impl Task {
    /// What the command calls it.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What the file's model class is for, with a query or candidate labels.
    pub(super) fn of(module: &Module, has_query: bool, has_labels: bool) -> anyhow::Result<Self> {
        let Some(metadata) = module.metadata() else {
            bail!("the program does not say what model it is: bertscript did not export it");
        };
        let architecture = metadata.architecture()?;
        let has = |name: &str| metadata.outputs.iter().any(|output| output.name == name);
        Ok(match architecture.task() {
            ModelTask::SequenceClassification if has_labels => Self::ZeroShot,
            ModelTask::SequenceClassification if has_query && metadata.labels.len() == 1 => {
                Self::Rank
            }
            ModelTask::SequenceClassification => Self::Classify,
            ModelTask::TokenClassification => Self::Entities,
            ModelTask::QuestionAnswering => Self::Answer,
            ModelTask::MaskedLM => Self::FillMask,
            ModelTask::PreTraining if has("prediction_logits") => Self::FillMask,
            ModelTask::NextSentencePrediction => Self::NextSentence,
            ModelTask::Model if has_query => Self::Rank,
            ModelTask::Model => Self::Similarity,
            ModelTask::PreTraining | ModelTask::MultipleChoice => {
                bail!(
                    "there is no text task for {architecture}; `bertscript run` runs it on tensors"
                )
            }
        })
    }
}
