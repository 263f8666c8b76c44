//! Which output of which class a task reads.

use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::family::model::ModelSpec;
use crate::family::{Architecture, Task};
use crate::module::Module;

/// What a task on texts reads: the classes that it runs on, by what they are for, and the
/// outputs of each.
pub(super) struct Reads<const N: usize = 1> {
    name: &'static str,
    outputs: &'static [(Task, [&'static str; N])],
}

pub(super) const EMBED: Reads =
    Reads { name: "embed", outputs: &[(Task::Model, ["last_hidden_state"])] };

pub(super) const EMBED_SPARSE: Reads = Reads { name: "embed_sparse", outputs: FILL_MASK.outputs };

pub(super) const CLASSIFY: Reads =
    Reads { name: "classify", outputs: &[(Task::SequenceClassification, ["logits"])] };

pub(super) const ZERO_SHOT: Reads =
    Reads { name: "zero_shot", outputs: &[(Task::SequenceClassification, ["logits"])] };

pub(super) const RANK: Reads = Reads {
    name: "rank",
    outputs: &[(Task::SequenceClassification, ["logits"]), (Task::Model, ["last_hidden_state"])],
};

pub(super) const NEXT_SENTENCE: Reads = Reads {
    name: "next_sentence",
    outputs: &[
        (Task::NextSentencePrediction, ["logits"]),
        (Task::PreTraining, ["seq_relationship_logits"]),
    ],
};

pub(super) const ENTITIES: Reads =
    Reads { name: "entities", outputs: &[(Task::TokenClassification, ["logits"])] };

pub(super) const ANSWER: Reads<2> =
    Reads { name: "answer", outputs: &[(Task::QuestionAnswering, ["start_logits", "end_logits"])] };

pub(super) const FILL_MASK: Reads = Reads {
    name: "fill_mask",
    outputs: &[(Task::MaskedLM, ["logits"]), (Task::PreTraining, ["prediction_logits"])],
};

impl<const N: usize> Reads<N> {
    /// The names of the outputs that it reads of a model; none if that has no such outputs.
    fn of(&self, model: &ModelSpec) -> Option<[&'static str; N]> {
        let task = model.architecture.task();
        let (_, names) = self.outputs.iter().find(|(known, _)| *known == task)?;
        let outputs = model.outputs();
        let has = |name: &&str| outputs.iter().any(|output| output.name == **name);
        names.iter().all(has).then_some(*names)
    }

    /// The classes, of a family where it has them.
    fn classes(&self, config: Option<&Config>) -> String {
        let tasks = || self.outputs.iter().map(|(task, _)| *task);
        let of_family = |config: &Config| {
            let models = Architecture::all().filter_map(|class| config.model(class).ok());
            let models = models.filter(|model| self.of(model).is_some());
            models.map(|model| model.architecture.name()).collect::<Vec<_>>()
        };
        match config.map(of_family) {
            Some(classes) if !classes.is_empty() => classes.join(" or "),
            _ => tasks().map(|task| format!("a class ..{task}")).collect::<Vec<_>>().join(" or "),
        }
    }
}

impl Module {
    /// The indices of the outputs that a task reads. An archive may have others beside
    /// them: hidden states, attention probabilities.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the model has no head for the task.
    pub(super) fn outputs_of<const N: usize>(&self, reads: &Reads<N>) -> Result<[usize; N]> {
        let name = reads.name;
        let unsupported = |message| Error::new(ErrorKind::Unsupported, message);
        let Some(archive) = self.archive() else {
            let classes = reads.classes(None);
            let message = format!("{name} needs a file that bertscript exported, of {classes}");
            return Err(unsupported(message));
        };
        let (metadata, config) = (archive.metadata(), archive.config());
        let architecture = metadata.architecture()?;
        let Some(names) = reads.of(&config.model(architecture)?) else {
            let classes = reads.classes(Some(config));
            let message = format!("{name} needs {classes}, but the file is a {architecture}");
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
