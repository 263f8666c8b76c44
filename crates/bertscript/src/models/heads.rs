//! Pooler and heads, as a description has them.

#![deny(clippy::disallowed_methods)]

use crate::activation::Activation;
use crate::error::{Error, ErrorKind, Result};
use crate::family::spec::{self, OutputForm, Pooling};
use crate::nn::{LayerNorm, Linear, VarlenBatch};
use crate::weights::{Init, TorchWeights};
use tch::Tensor;

/// A linear layer, its activation, and perhaps a LayerNorm.
pub(super) struct Transform {
    dense: Linear,
    activation: Activation,
    norm: Option<LayerNorm>,
}

impl Transform {
    pub(super) fn load(w: &TorchWeights, spec: &spec::Transform, in_features: i64) -> Result<Self> {
        let norm = |norm| LayerNorm::load(w, norm, spec.width);
        Ok(Self {
            dense: Linear::load(w, &spec.dense, in_features, spec.width)?,
            activation: spec.activation,
            norm: spec.norm.as_ref().map(norm).transpose()?,
        })
    }

    /// `[.., in]` -> `[.., width]`
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.activation.forward(&self.dense.forward(x)?)?;
        self.norm.as_ref().map_or(Ok(x.shallow_clone()), |norm| norm.forward(&x))
    }
}

/// What heads read of an encoder.
pub(super) struct Rows<'a> {
    /// `[B,S,H]`
    pub(super) last_hidden_state: &'a Tensor,
    /// The sequences, if they are in one row `[1,T]`
    pub(super) varlen: Option<&'a VarlenBatch>,
    /// `[B,H]`
    pub(super) pooler_output: Option<Tensor>,
    /// `[B,S]` of integers, 1 where a token takes part, if the sequences are not in one row
    pub(super) tokens: Option<Tensor>,
}

impl Rows<'_> {
    /// The first token of each sequence: `[B,H]`
    pub(super) fn first_tokens(&self) -> Result<Tensor> {
        let hidden_states = self.last_hidden_state;
        Ok(match self.varlen {
            Some(texts) => {
                hidden_states.f_squeeze_dim(0)?.f_index_select(0, &texts.first_tokens)?
            }
            None => hidden_states.f_select(1, 0)?,
        })
    }

    /// The mean of each sequence's tokens: `[B,H]`; of none, zeros
    fn mean(&self) -> Result<Tensor> {
        let hidden_states = self.last_hidden_state;
        let lost = || Error::new(ErrorKind::Config, "the tokens of the batch are not known");
        let (members, sum) = match (self.varlen, &self.tokens) {
            // `[N,T]` by `[T,H]`
            (Some(texts), _) => {
                let (members, rows) = (texts.members()?, hidden_states.f_squeeze_dim(0)?);
                let sum = members.f_type_as(&rows)?.f_matmul(&rows)?;
                (members, sum)
            }
            // `[B,1,S]` by `[B,S,H]`
            (None, tokens) => {
                let members = tokens.as_ref().ok_or_else(lost)?.f_ne(0)?;
                let weights = members.f_unsqueeze(1)?.f_type_as(hidden_states)?;
                (members, weights.f_matmul(hidden_states)?.f_squeeze_dim(1)?)
            }
        };
        let count = members.f_cumsum(1, tch::Kind::Int64)?.f_select(1, -1)?;
        Ok(sum.f_div(&count.f_clamp_min(1)?.f_unsqueeze(1)?)?)
    }
}

/// A head.
pub(super) struct Head {
    pooling: Pooling,
    transforms: Vec<Transform>,
    last: Linear,
    form: OutputForm,
}

impl Head {
    pub(super) fn load(w: &TorchWeights, spec: &spec::Head, hidden_size: i64) -> Result<Self> {
        let (mut transforms, mut width) = (Vec::new(), hidden_size);
        for transform in &spec.transforms {
            transforms.push(Transform::load(w, transform, width)?);
            width = transform.width;
        }
        let last = &spec.last;
        if let Some(name) = &last.bias_alias {
            // A second name of the last bias, which `forward` does not read. It belongs to
            // the state dict.
            let _ = w.get(name, &[last.width], Init::Zeros)?;
        }
        let dense = Linear::load(w, &last.dense, width, last.width)?;
        Ok(Self { pooling: spec.pooling, transforms, last: dense, form: spec.form })
    }

    /// Its outputs.
    pub(super) fn forward(&self, rows: &Rows<'_>) -> Result<Vec<Tensor>> {
        let no_pooler = || Error::new(ErrorKind::Config, "the model has no pooler");
        let mut x = match self.pooling {
            Pooling::None => rows.last_hidden_state.shallow_clone(),
            Pooling::FirstToken => rows.first_tokens()?,
            Pooling::Mean => rows.mean()?,
            Pooling::PoolerOutput => {
                rows.pooler_output.as_ref().ok_or_else(no_pooler)?.shallow_clone()
            }
        };
        for transform in &self.transforms {
            x = transform.forward(&x)?;
        }
        let logits = self.last.forward(&x)?;
        Ok(match self.form {
            OutputForm::Logits | OutputForm::Choices => vec![logits],
            OutputForm::Squeezed => vec![logits.f_select(-1, 0)?],
            OutputForm::StartEnd => vec![logits.f_select(-1, 0)?, logits.f_select(-1, 1)?],
        })
    }
}
