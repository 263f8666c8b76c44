//! A bias of attention scores for the distance of two tokens.
//!
//! Source: `MPNetEncoder.compute_position_bias`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/mpnet/modeling_mpnet.py>

use super::Embedding;
use crate::error::Result;
use crate::family::relative_positions::Buckets;
use crate::weights::{Init, TorchWeights};
use tch::Tensor;

/// A number for each head and bucket of distances.
pub(crate) struct RelativeBias {
    embedding: Embedding,
    buckets: Buckets,
    /// [`Buckets::starts`]
    starts: Vec<i64>,
}

impl RelativeBias {
    pub(crate) fn load(w: &TorchWeights, buckets: &Buckets, num_heads: i64) -> Result<Self> {
        let embedding =
            Embedding::load(&w.sub(&buckets.name), buckets.num_buckets, num_heads, Init::Normal)?;
        Ok(Self { embedding, starts: buckets.starts(), buckets: buckets.clone() })
    }

    /// positions `[1,S]` -> `[1,heads,S,S]`
    pub(crate) fn forward(&self, positions: &Tensor) -> Result<Tensor> {
        // How far a key is after its query.
        let distance = positions.f_unsqueeze(-2)?.f_sub(&positions.f_unsqueeze(-1)?)?;
        // [`Buckets::of`], of whole numbers: a cast of a logarithm would bake in the device.
        let away = distance.f_abs()?;
        let mut bucket = away.f_clamp_max(self.buckets.exact())?;
        for start in &self.starts {
            bucket = bucket.f_add(&away.f_ge(*start)?)?;
        }
        let after = distance.f_sign()?.f_clamp_min(0)?;
        let bucket = bucket.f_add(&after.f_mul_scalar(self.buckets.of_direction())?)?;
        Ok(self.embedding.forward(&bucket)?.f_transpose(2, 3)?.f_transpose(1, 2)?)
    }
}
