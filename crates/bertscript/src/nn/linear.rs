//! `torch.nn.Linear`, <https://github.com/pytorch/pytorch/blob/v2.11.0/torch/nn/modules/linear.py>

use crate::error::Result;
use crate::family::spec;
use crate::weights::{Init, TorchWeights};
use tch::Tensor;
use torchscript::SharedTensor;

/// `y = x Wᵀ + b`, perhaps without `b`
pub(crate) struct Linear {
    weight: SharedTensor,
    bias: Option<SharedTensor>,
}

impl Linear {
    /// weight `[out, in]`, bias `[out]`
    pub(crate) fn load(
        w: &TorchWeights,
        spec: &spec::Linear,
        in_features: i64,
        out_features: i64,
    ) -> Result<Self> {
        let w = w.sub(&spec.name);
        let weight = w.get("weight", &[out_features, in_features], spec.init.into())?;
        let bias = spec.has_bias.then(|| w.get("bias", &[out_features], Init::Zeros));
        Ok(Self {
            weight: SharedTensor::new(weight),
            bias: bias.transpose()?.map(SharedTensor::new),
        })
    }

    /// Several layers of the same inputs as one, whose outputs lie beside one
    /// another. All have a bias, or none has.
    pub(crate) fn concatenated(layers: &[Self]) -> Result<Self> {
        let joined = |parts: Vec<&SharedTensor>| -> Result<SharedTensor> {
            let parts: Vec<_> = parts.into_iter().map(SharedTensor::get).collect();
            Ok(SharedTensor::new(Tensor::f_cat(&parts, 0)?))
        };
        let biases: Option<_> = layers.iter().map(|layer| layer.bias.as_ref()).collect();
        Ok(Self {
            weight: joined(layers.iter().map(|layer| &layer.weight).collect())?,
            bias: biases.map(joined).transpose()?,
        })
    }

    /// x `[.., in]` -> `[.., out]`
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(SharedTensor::get);
        Ok(x.f_linear(&self.weight.get(), bias.as_ref())?)
    }
}
