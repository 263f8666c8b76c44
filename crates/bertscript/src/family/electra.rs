//! ELECTRA, Clark et al. 2020, <https://arxiv.org/abs/2003.10555>: BERT with narrower embeddings and
//! without a pooler.
//!
//! Source: <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/electra/modeling_electra.py>

use super::bert::{self, Defaults};
use super::file_names::OWN_NAMES;
use super::keys::{Keys, MAX_WIDTH};
use super::roberta::classification_head;
use super::spec::{Encoder, Head, LayerNorm, Linear, OutputForm, Pooling, Transform};
use super::{Family, Task};
use crate::activation::Activation;
use crate::error::Result;

pub(super) const ELECTRA: Family = Family {
    model_type: "electra",
    class: "Electra",
    base_prefix: "electra",
    file_names: &OWN_NAMES,
    tasks: &[
        Task::Model,
        Task::PreTraining,
        Task::MaskedLM,
        Task::SequenceClassification,
        Task::TokenClassification,
        Task::QuestionAnswering,
        Task::MultipleChoice,
    ],
    encoder,
    heads,
};

const DEFAULTS: Defaults =
    Defaults { hidden_size: 256, num_heads: 4, intermediate_size: 1024, ..bert::DEFAULTS };

fn encoder(keys: &Keys) -> Result<Encoder> {
    let mut electra = bert::encoder(keys, &DEFAULTS)?;
    let width = keys.size("embedding_size", 128, MAX_WIDTH)?;
    electra.embeddings.width = width;
    if width != electra.hidden_size {
        electra.embeddings.projection = Some(Linear::new("embeddings_project"));
    }
    electra.pooler = None;
    electra.has_pooler_output = false;
    Ok(electra)
}

fn heads(task: Task, electra: &Encoder, keys: &Keys) -> Result<Vec<Head>> {
    let transform = |name: &str, width, activation, norm| Transform {
        dense: Linear::new(name),
        width,
        activation,
        norm,
    };
    let hidden = electra.hidden_size;
    Ok(match task {
        // The discriminator: whether a token was replaced.
        Task::PreTraining => {
            let activation = electra.layers[0].activation;
            let dense = transform("discriminator_predictions.dense", hidden, activation, None);
            let last = "discriminator_predictions.dense_prediction";
            let head = Head::new(Pooling::None, last, 1);
            vec![Head { transforms: vec![dense], form: OutputForm::Squeezed, ..head }]
        }
        // The generator, whose activation is GELU, whatever that of the encoder is.
        Task::MaskedLM => {
            let eps = electra.eps();
            let norm = Some(LayerNorm::new("generator_predictions.LayerNorm", eps));
            let (name, width) = ("generator_predictions.dense", electra.embeddings.width);
            let transform = transform(name, width, Activation::Gelu, norm);
            vec![Head::of_words(electra, transform, "generator_lm_head", None)]
        }
        Task::SequenceClassification => {
            vec![classification_head(electra, Activation::Gelu, keys)?]
        }
        Task::MultipleChoice => {
            keys.expect("summary_type", "first")?;
            keys.expect("summary_use_proj", true)?;
            keys.expect("summary_proj_to_labels", false)?;
            let activation = keys.activation("summary_activation")?;
            let summary = transform("sequence_summary.summary", hidden, activation, None);
            let head = Head::new(Pooling::FirstToken, "classifier", 1);
            vec![Head { transforms: vec![summary], form: OutputForm::Choices, ..head }]
        }
        _ => bert::heads(task, electra, keys)?,
    })
}
