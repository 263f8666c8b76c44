//! The model that is traced, and that the varlen engine runs: one interpreter of the
//! descriptions in [`crate::family`].

mod attention;
mod encoder;
mod heads;
mod pretrained;

pub use pretrained::PreTrained;

use crate::error::Result;
use crate::family::Task;
use crate::family::model::ModelSpec;
use crate::nn::{AttentionForm, VarlenBatch};
use crate::weights::TorchWeights;
use encoder::Encoder;
use heads::{Head, Rows, Transform};
use tch::Tensor;

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

    /// Which tokens take part, `[B,S]`, if not all of them do.
    fn tokens(self) -> Option<&'a Tensor> {
        self.varlen.map_or(self.attention_mask, VarlenBatch::tokens)
    }
}

/// What a model computed.
pub(crate) struct ModelOutputs {
    /// In the order of [`ModelSpec::outputs`]
    pub(crate) outputs: Vec<Tensor>,
    /// The embeddings and the result of every layer, `[B,S,H]` each
    pub(crate) hidden_states: Vec<Tensor>,
    /// The attention probabilities of every layer, `[B,heads,S,S]` each; none
    /// from SDPA
    pub(crate) attentions: Vec<Tensor>,
}

/// A model whose weights are loaded. It may be traced on another thread than
/// the one that loaded it.
pub(crate) struct Model {
    encoder: Encoder,
    pooler: Option<Transform>,
    heads: Vec<Head>,
    /// Whether a text has several choices, each of which is a sequence.
    has_choices: bool,
}

impl Model {
    /// Takes the parameters of a description from the weights.
    pub(crate) fn load(w: &TorchWeights, spec: &ModelSpec, form: AttentionForm) -> Result<Self> {
        let hidden_size = spec.encoder.hidden_size;
        let base = w.sub_prefix(&spec.prefix());
        let pooler = |pooler| Transform::load(&base, pooler, hidden_size);
        Ok(Self {
            encoder: Encoder::load(&base, &spec.encoder, form)?,
            pooler: spec.pooler().map(pooler).transpose()?,
            heads: spec
                .heads
                .iter()
                .map(|head| Head::load(w, head, hidden_size))
                .collect::<Result<_>>()?,
            has_choices: spec.architecture.task() == Task::MultipleChoice,
        })
    }

    /// Runs it. Of multiple choice, the outputs for padded inputs `[B,C,S]` are `[B,C]`, and
    /// for one row of sequences, each of which is a choice, `[N,1]`.
    pub(crate) fn forward(&self, inputs: ModelInputs<'_>) -> Result<ModelOutputs> {
        if !self.has_choices || inputs.varlen.is_some() {
            return self.forward_sequences(inputs);
        }
        // Every choice is a row of its own: `[B,C,S]` -> `[BC,S]`.
        let input_ids = inputs.input_ids.f_flatten(0, 1)?;
        let attention_mask = inputs.attention_mask.map(|mask| mask.f_flatten(0, 1)).transpose()?;
        let token_type_ids = inputs.token_type_ids.f_flatten(0, 1)?;
        let flat = ModelInputs::padded(&input_ids, attention_mask.as_ref(), &token_type_ids);
        let found = self.forward_sequences(flat)?;
        // `[BC,1]` -> `[B,C]`: a tensor of that shape says so, not two numbers.
        let shape = inputs.input_ids.f_select(2, 0)?;
        let outputs = found.outputs.iter().map(|output| Ok(output.f_view_as(&shape)?));
        Ok(ModelOutputs { outputs: outputs.collect::<Result<_>>()?, ..found })
    }

    fn forward_sequences(&self, inputs: ModelInputs<'_>) -> Result<ModelOutputs> {
        let encoded = self.encoder.forward(inputs)?;
        let last_hidden_state = &encoded.last_hidden_state;
        let mut rows = Rows {
            last_hidden_state,
            varlen: inputs.varlen,
            pooler_output: None,
            tokens: match (inputs.varlen, inputs.attention_mask) {
                (Some(_), _) => None,
                (None, Some(mask)) => Some(mask.shallow_clone()),
                (None, None) => Some(inputs.input_ids.f_ones_like()?),
            },
        };
        if let Some(pooler) = &self.pooler {
            rows.pooler_output = Some(pooler.forward(&rows.first_tokens()?)?);
        }
        let mut outputs = Vec::new();
        for head in &self.heads {
            outputs.extend(head.forward(&rows)?);
        }
        if self.heads.is_empty() {
            outputs.push(last_hidden_state.shallow_clone());
            outputs.extend(rows.pooler_output);
        }
        let (hidden_states, attentions) = (encoded.hidden_states, encoded.attentions);
        Ok(ModelOutputs { outputs, hidden_states, attentions })
    }
}
