//! `torch.nn.Linear`, <https://github.com/pytorch/pytorch/blob/v2.11.0/torch/nn/modules/linear.py>

use crate::error::Result;
use crate::weights::{Init, Weights};
use tch::Tensor;
use torchscript::SharedTensor;

/// `y = x Wᵀ + b`
pub(crate) struct Linear {
    weight: SharedTensor,
    bias: SharedTensor,
}

impl Linear {
    /// weight `[out, in]`, bias `[out]`
    pub(crate) fn load(w: &Weights, in_features: i64, out_features: i64) -> Result<Self> {
        Ok(Self {
            weight: SharedTensor::new(w.get(
                "weight",
                &[out_features, in_features],
                Init::Normal,
            )?),
            bias: SharedTensor::new(w.get("bias", &[out_features], Init::Zeros)?),
        })
    }

    /// Several layers of the same inputs as one, whose outputs lie beside one
    /// another.
    pub(crate) fn concatenated(layers: &[Self]) -> Result<Self> {
        let joined = |part: fn(&Self) -> &SharedTensor| -> Result<SharedTensor> {
            let parts: Vec<_> = layers.iter().map(|layer| part(layer).get()).collect();
            Ok(SharedTensor::new(Tensor::f_cat(&parts, 0)?))
        };
        Ok(Self { weight: joined(|layer| &layer.weight)?, bias: joined(|layer| &layer.bias)? })
    }

    /// x `[.., in]` -> `[.., out]`
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_linear(&self.weight.get(), Some(&self.bias.get()))?)
    }
}
