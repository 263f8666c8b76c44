//! `torch.nn.LayerNorm`, <https://github.com/pytorch/pytorch/blob/v2.11.0/torch/nn/modules/normalization.py>

use crate::error::Result;
use crate::weights::{Init, Weights};
use tch::Tensor;
use torchscript::SharedTensor;

/// Normalisation over the last dimension, with weight and bias `[H]`.
pub(crate) struct LayerNorm {
    weight: SharedTensor,
    bias: SharedTensor,
    normalized_shape: i64,
    eps: f64,
}

impl LayerNorm {
    pub(crate) fn load(w: &Weights, normalized_shape: i64, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: SharedTensor::new(w.get("weight", &[normalized_shape], Init::Ones)?),
            bias: SharedTensor::new(w.get("bias", &[normalized_shape], Init::Zeros)?),
            normalized_shape,
            eps,
        })
    }

    /// x `[.., H]` -> `[.., H]`
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (self.weight.get(), self.bias.get());
        let shape = [self.normalized_shape];
        Ok(x.f_layer_norm(shape, Some(&weight), Some(&bias), self.eps, true)?)
    }
}
