//! Which output of which architecture a task reads.

use crate::error::{Error, ErrorKind, Result};
use crate::models::Architecture;
use crate::module::Module;

/// A task: the architectures that it runs on, and the outputs that it reads of each.
pub(super) struct Task<const N: usize = 1> {
    name: &'static str,
    outputs: &'static [(Architecture, [&'static str; N])],
}

pub(super) const EMBED: Task =
    Task { name: "embed", outputs: &[(Architecture::BertModel, ["last_hidden_state"])] };

pub(super) const CLASSIFY: Task = Task {
    name: "classify",
    outputs: &[(Architecture::BertForSequenceClassification, ["logits"])],
};

pub(super) const NEXT_SENTENCE: Task = Task {
    name: "next_sentence",
    outputs: &[
        (Architecture::BertForNextSentencePrediction, ["logits"]),
        (Architecture::BertForPreTraining, ["seq_relationship_logits"]),
    ],
};

pub(super) const ENTITIES: Task =
    Task { name: "entities", outputs: &[(Architecture::BertForTokenClassification, ["logits"])] };

pub(super) const ANSWER: Task<2> = Task {
    name: "answer",
    outputs: &[(Architecture::BertForQuestionAnswering, ["start_logits", "end_logits"])],
};

pub(super) const FILL_MASK: Task = Task {
    name: "fill_mask",
    outputs: &[
        (Architecture::BertForMaskedLM, ["logits"]),
        (Architecture::BertForPreTraining, ["prediction_logits"]),
    ],
};

impl Module {
    /// The indices of the outputs that a task reads. An archive may have others beside
    /// them: hidden states, attention probabilities.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the model has no head for the task.
    pub(super) fn outputs_of<const N: usize>(&self, task: &Task<N>) -> Result<[usize; N]> {
        let Task { name, outputs } = task;
        let known =
            || outputs.iter().map(|(known, _)| known.name()).collect::<Vec<_>>().join(" or ");
        let unsupported = |message| Error::new(ErrorKind::Unsupported, message);
        let Some(metadata) = self.metadata() else {
            let message = format!("{name} needs a file that bertscript exported, of {}", known());
            return Err(unsupported(message));
        };
        let architecture = metadata.architecture()?;
        let found = outputs.iter().find(|(known, _)| *known == architecture);
        let Some((_, names)) = found else {
            let message = format!("{name} needs {}, but the file is a {architecture}", known());
            return Err(unsupported(message));
        };
        let mut indices = [0; N];
        for (index, name) in indices.iter_mut().zip(names) {
            *index = metadata.output_index(name).ok_or_else(|| {
                Error::new(ErrorKind::Archive, format!("found no output {name}, expected one"))
            })?;
        }
        Ok(indices)
    }
}
