//! `torch.nn.LayerNorm`, <https://github.com/pytorch/pytorch/blob/v2.11.0/torch/nn/modules/normalization.py>

use crate::error::Result;
use crate::family::spec;
use crate::weights::{Init, TorchWeights};
use tch::Tensor;
use torchscript::SharedTensor;

/// Normalisation over the last dimension, with a weight `[H]` and perhaps a bias `[H]`.
pub(crate) struct LayerNorm {
    weight: SharedTensor,
    bias: Option<SharedTensor>,
    normalized_shape: i64,
    eps: f64,
}

impl LayerNorm {
    pub(crate) fn load(
        w: &TorchWeights,
        spec: &spec::LayerNorm,
        normalized_shape: i64,
    ) -> Result<Self> {
        let w = w.sub(&spec.name);
        let weight = w.get("weight", &[normalized_shape], Init::Ones)?;
        let bias = spec.has_bias.then(|| w.get("bias", &[normalized_shape], Init::Zeros));
        Ok(Self {
            weight: SharedTensor::new(weight),
            bias: bias.transpose()?.map(SharedTensor::new),
            normalized_shape,
            eps: spec.eps,
        })
    }

    /// x `[.., H]` -> `[.., H]`
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (self.weight.get(), self.bias.as_ref().map(SharedTensor::get));
        let shape = [self.normalized_shape];
        Ok(x.f_layer_norm(shape, Some(&weight), bias.as_ref(), self.eps, true)?)
    }
}
