//! Rotary position embeddings, Su et al. 2021, <https://arxiv.org/abs/2104.09864>.
//!
//! Source: `ModernBertRotaryEmbedding` and `apply_rotary_pos_emb`,
//! <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/modernbert/modeling_modernbert.py>

use crate::error::Result;
use tch::{Kind, Tensor};

/// Cosines and sines of tokens, in float32, to broadcast over heads. (Upstream rounds them to the
/// dtype of the model.)
#[derive(Debug)]
pub(crate) struct Rotation {
    cos: Tensor,
    sin: Tensor,
    head_dim: i64,
}

impl Rotation {
    /// positions `[..,S]` -> cosines and sines `[..,S,head_dim]`, on the device of `row`, of which
    /// there are at least half as many values as a head has, whatever they are.
    pub(crate) fn new(theta: f64, head_dim: i64, positions: &Tensor, row: &Tensor) -> Result<Self> {
        let half = head_dim / 2;
        // 0, 1, 2 ..: `arange` would bake in the device.
        let index = row.f_narrow(0, 0, half)?.f_ones_like()?.f_cumsum(0, Kind::Float)?;
        let exponent = index.f_sub_scalar(1)?.f_mul_scalar(2)?.f_div_scalar(head_dim)?;
        let frequencies = Tensor::f_pow_scalar(theta, &exponent)?.f_reciprocal()?;
        let angles = positions.f_unsqueeze(-1)?.f_mul(&frequencies)?;
        let angles = Tensor::f_cat(&[&angles, &angles], -1)?;
        Ok(Self { cos: angles.f_cos()?, sin: angles.f_sin()?, head_dim })
    }

    /// With a dimension for heads.
    pub(crate) fn unsqueeze(self, dim: i64) -> Result<Self> {
        let Self { cos, sin, head_dim } = self;
        Ok(Self { cos: cos.f_unsqueeze(dim)?, sin: sin.f_unsqueeze(dim)?, head_dim })
    }

    /// Queries or keys, `[..,head_dim]` -> the same, in float32, rounded once.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let half = self.head_dim / 2;
        let turned = [x.f_narrow(-1, half, half)?.f_neg()?, x.f_narrow(-1, 0, half)?];
        let turned = Tensor::f_cat(&turned, -1)?;
        Ok(x.f_mul(&self.cos)?.f_add(&turned.f_mul(&self.sin)?)?.f_type_as(x)?)
    }
}
