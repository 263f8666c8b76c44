//! `torch.nn.Linear`, <https://github.com/pytorch/pytorch/blob/v2.11.0/torch/nn/modules/linear.py>

use crate::error::Result;
use crate::weights::{Init, Weights};
use tch::Tensor;

/// `y = x Wᵀ + b`
pub(crate) struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// weight `[out, in]`, bias `[out]`
    pub(crate) fn load(w: &Weights, in_features: i64, out_features: i64) -> Result<Self> {
        Ok(Self {
            weight: w.get("weight", &[out_features, in_features], Init::Normal)?,
            bias: w.get("bias", &[out_features], Init::Zeros)?,
        })
    }

    /// x `[.., in]` -> `[.., out]`
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_linear(&self.weight, Some(&self.bias))?)
    }
}
