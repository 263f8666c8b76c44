//! Attention of one layer, and what all layers are told of a batch.

#![deny(clippy::disallowed_methods)]

use super::ModelInputs;
use crate::error::{Error, ErrorKind, Result};
use crate::family::spec::{self, Positions, RelativePositions};
use crate::nn::{
    Attention, AttentionForm, Linear, RelativeBias, Scores, VarlenBatch, VarlenBias, boolean_mask,
};
use crate::weights::Weights;
use tch::Tensor;

/// What the attention of every layer is told of a batch.
pub(super) enum BatchScores<'a> {
    /// Of rows of one length
    Padded(Scores),
    /// Of several sequences in one row
    Varlen(&'a VarlenBatch, Option<VarlenBias>),
}

/// What makes it.
pub(super) struct ScoresOf {
    form: AttentionForm,
    bias: Option<RelativeBias>,
}

impl ScoresOf {
    pub(super) fn load(w: &Weights, spec: &spec::Encoder, form: AttentionForm) -> Result<Self> {
        let bias = match &spec.relative_positions {
            RelativePositions::None => None,
            RelativePositions::Buckets(buckets) => {
                Some(RelativeBias::load(w, buckets, spec.num_heads)?)
            }
        };
        Ok(Self { form, bias })
    }

    pub(super) fn forward<'a>(&self, inputs: ModelInputs<'a>) -> Result<BatchScores<'a>> {
        match (self.form, inputs.varlen) {
            (AttentionForm::Varlen, Some(texts)) => {
                let bias = self.bias.as_ref();
                let bias = bias.map(|bias| VarlenBias::new(texts, |columns| bias.forward(columns)));
                Ok(BatchScores::Varlen(texts, bias.transpose()?))
            }
            (AttentionForm::Padded(attention), None) => {
                let mask = inputs.attention_mask.map(boolean_mask).transpose()?;
                let bias = |bias: &RelativeBias| {
                    bias.forward(&super::encoder::position_ids(Positions::FromZero, inputs)?)
                };
                let bias = self.bias.as_ref().map(bias).transpose()?;
                Ok(BatchScores::Padded(attention.scores(mask, bias)?))
            }
            (AttentionForm::Padded(_), Some(_)) => Err(wrong_form("one row of several texts")),
            (AttentionForm::Varlen, None) => Err(wrong_form("rows of one length")),
        }
    }
}

pub(super) struct SelfAttention {
    projections: Projections,
    /// Their number, and the width of one
    heads: [i64; 2],
}

/// Query, key and value
enum Projections {
    /// For rows of one length: three layers, which the tracer knows by their names
    Separate([Linear; 3], Attention),
    /// For one row of several texts: one layer, three times as wide
    Fused(Linear),
}

impl SelfAttention {
    pub(super) fn load(
        w: &Weights,
        layer: &spec::Layer,
        encoder: &spec::Encoder,
        form: AttentionForm,
    ) -> Result<Self> {
        let hidden = encoder.hidden_size;
        let [query, key, value] = layer
            .query_key_value
            .each_ref()
            .map(|spec| Linear::load(&w.sub(&spec.name), hidden, hidden));
        let layers = [query?, key?, value?];
        Ok(Self {
            projections: match form {
                AttentionForm::Padded(attention) => Projections::Separate(layers, attention),
                AttentionForm::Varlen => Projections::Fused(Linear::concatenated(&layers)?),
            },
            heads: [encoder.num_heads, encoder.head_dim()],
        })
    }

    /// hidden_states `[B,S,H]` -> `[B,S,H]`, and the probabilities `[B,heads,S,S]` if
    /// the attention has them
    pub(super) fn forward(
        &self,
        hidden_states: &Tensor,
        scores: &BatchScores<'_>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let scores = match scores {
            BatchScores::Padded(scores) => scores,
            BatchScores::Varlen(texts, bias) => {
                return self.varlen(hidden_states, texts, bias.as_ref());
            }
        };
        let Projections::Separate([query, key, value], attention) = &self.projections else {
            return Err(wrong_form("rows of one length"));
        };
        let query = self.split_heads(&query.forward(hidden_states)?)?;
        let key = self.split_heads(&key.forward(hidden_states)?)?;
        let value = self.split_heads(&value.forward(hidden_states)?)?;
        let (context, probabilities) =
            attention.forward([&query, &key, &value], scores, self.heads[1])?;
        Ok((context.f_transpose(1, 2)?.f_flatten(2, 3)?, probabilities))
    }

    /// hidden_states `[1,T,H]` -> `[1,T,H]`
    fn varlen(
        &self,
        hidden_states: &Tensor,
        texts: &VarlenBatch,
        bias: Option<&VarlenBias>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let Projections::Fused(qkv) = &self.projections else {
            return Err(wrong_form("one row of several texts"));
        };
        Ok((texts.attention(&qkv.forward(hidden_states)?, self.heads, bias)?, None))
    }

    /// `[B,S,H]` -> `[B,heads,S,head_dim]`
    fn split_heads(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_unflatten(-1, self.heads)?.f_transpose(1, 2)?)
    }
}

fn wrong_form(found: &str) -> Error {
    let message = format!("the model was loaded for batches of another form than {found}");
    Error::new(ErrorKind::InvalidInput, message)
}
