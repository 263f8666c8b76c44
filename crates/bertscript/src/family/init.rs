//! How weights start when no checkpoint has them. Biases are zeros, and norms the identity.

use super::keys::Keys;
use crate::error::Result;

/// The initial values of the weight of a linear layer or an embedding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum WeightInit {
    /// Normal, with `initializer_range` as standard deviation; zeros in the row of the padding
    /// token
    Normal,
    /// Normal with the standard deviation `std`, within `cutoff` of those, in every row
    TruncatedNormal { std: f64, cutoff: f64 },
    /// Sines and cosines of positions, Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>
    Sinusoidal,
}

/// The initial values of ModernBERT's weights, by what a layer is for.
///
/// Source: `ModernBertPreTrainedModel._init_weights`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/modernbert/modeling_modernbert.py>
pub(super) struct TruncatedInits {
    /// Of the embedding, and of layers that read a hidden state
    pub(super) input: WeightInit,
    /// Of layers whose results are added to a hidden state, and of the head's
    pub(super) output: WeightInit,
    /// Of a classifier
    pub(super) final_output: WeightInit,
}

impl TruncatedInits {
    pub(super) fn of(keys: &Keys, hidden_size: i64, num_layers: i64) -> Result<Self> {
        let range = keys.float("initializer_range", 0.02)?;
        let cutoff = keys.float("initializer_cutoff_factor", 2.0)?;
        let truncated = |std| WeightInit::TruncatedNormal { std, cutoff };
        Ok(Self {
            input: truncated(range),
            output: truncated(range / (2.0 * num_layers as f64).sqrt()),
            final_output: truncated((hidden_size as f64).powf(-0.5)),
        })
    }
}
