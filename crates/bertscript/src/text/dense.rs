//! A layer on an embedding.
//!
//! Source: `Dense`, <https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/base/modules/dense.py>

#![expect(clippy::disallowed_methods, reason = "looks at weights, records no trace")]

use crate::assets::Assets;
use crate::checkpoint::{ModuleEntry, safetensors_from_bytes};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{elements, filled};
use bertscript_kernels::{Isa, Linear, Matrix, Solo, Then};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::str::FromStr;
use tch::{Kind, Tensor};

/// `Dense`: a linear layer, an activation, perhaps a residual.
///
/// It computes by our kernels, since a product of libtorch's may have other last
/// bits in another batch.
#[derive(Debug)]
pub struct Dense {
    linear: Linear<f32>,
    activation: DenseActivation,
    residual: Option<Residual>,
}

#[derive(Debug)]
enum Residual {
    Identity,
    Linear(Box<Linear<f32>>),
}

/// The activations of `torch.nn` that a `Dense` may name.
#[derive(Debug, Clone, Copy)]
enum DenseActivation {
    Identity,
    Tanh,
    Relu,
    Gelu,
    Sigmoid,
    Silu,
}

impl Dense {
    pub(super) fn read(
        module: &ModuleEntry,
        config: &Map<String, Value>,
        assets: &Assets,
    ) -> Result<Self> {
        let file = module.file("model.safetensors");
        let invalid = |message: String| Error::new(ErrorKind::Config, message).at(&file);
        let contents = assets
            .get(&file)
            .ok_or_else(|| invalid("the weights of Dense are missing".to_owned()))?;
        let mut tensors: BTreeMap<_, _> = safetensors_from_bytes(contents)
            .map_err(|error| error.at(&file))?
            .into_iter()
            .collect();
        let isa = Isa::best().map_err(|message| Error::new(ErrorKind::InvalidInput, message))?;
        let missing = |name: &str| invalid(format!("the tensor {name} is missing"));
        let weight = tensors.remove("linear.weight").ok_or_else(|| missing("linear.weight"))?;
        let shape = weight.size();
        let (1.., &[out_features, in_features]) = (weight.numel(), shape.as_slice()) else {
            return Err(invalid(format!(
                "linear.weight: found shape {shape:?}, expected two dimensions of at least 1"
            )));
        };
        let values = |name: &str, tensor: Tensor, expected: &[i64]| -> Result<Vec<f32>> {
            let found = tensor.size();
            if found != expected {
                let message = format!("{name}: found shape {found:?}, expected {expected:?}");
                return Err(invalid(message));
            }
            elements(&tensor.f_to_kind(Kind::Float)?)
        };
        let linear = |name: &str, weight: Tensor, bias: Option<Vec<f32>>| -> Result<Linear<f32>> {
            let weight = values(name, weight, &[out_features, in_features])?;
            let bias = match bias {
                Some(bias) => bias,
                None => filled(out_features as usize, 0.)?,
            };
            Ok(Linear::new(isa, in_features as usize, &[(&weight, &bias)])?)
        };
        let is = |key: &str, usual| config.get(key).and_then(Value::as_bool).unwrap_or(usual);
        let bias = match is("bias", true) {
            true => {
                let bias = tensors.remove("linear.bias").ok_or_else(|| missing("linear.bias"))?;
                Some(values("linear.bias", bias, &[out_features])?)
            }
            false => None,
        };
        let residual = match (is("use_residual", false), tensors.remove("residual.weight")) {
            (false, _) => None,
            (true, Some(weight)) => {
                Some(Residual::Linear(Box::new(linear("residual.weight", weight, None)?)))
            }
            (true, None) if in_features == out_features => Some(Residual::Identity),
            (true, None) => return Err(missing("residual.weight")),
        };
        let activation = match config.get("activation_function").and_then(Value::as_str) {
            Some(path) => {
                path.parse().map_err(|error: Error| error.at(module.file("config.json")))?
            }
            None => DenseActivation::Tanh,
        };
        Ok(Self { linear: linear("linear.weight", weight, bias)?, activation, residual })
    }

    pub(super) fn out_features(&self) -> i64 {
        self.linear.outputs() as i64
    }

    /// `[B,in]` to `[B,out]`.
    pub(super) fn forward(&self, x: &Matrix<f32>) -> Result<Matrix<f32>> {
        let (found, expected) = (x.width(), self.linear.inputs());
        if found != expected {
            let message = format!("Dense: found embeddings of width {found}, expected {expected}");
            return Err(Error::new(ErrorKind::Config, message));
        }
        let then = match self.activation {
            DenseActivation::Gelu => Then::Gelu,
            _ => Then::Keep,
        };
        let mut y = Matrix::new(self.linear.outputs());
        y.set_rows(x.len())?;
        self.linear.forward(&Solo, x.all(), then, y.all_mut())?;
        for row in 0..y.len() {
            y.row_mut(row).iter_mut().for_each(|value| *value = self.activation.rest(*value));
        }
        match &self.residual {
            None => {}
            Some(Residual::Identity) => add(&mut y, x),
            Some(Residual::Linear(linear)) => {
                let mut projected = Matrix::new(linear.outputs());
                projected.set_rows(x.len())?;
                linear.forward(&Solo, x.all(), Then::Keep, projected.all_mut())?;
                add(&mut y, &projected);
            }
        }
        Ok(y)
    }
}

fn add(to: &mut Matrix<f32>, from: &Matrix<f32>) {
    for row in 0..to.len() {
        to.row_mut(row).iter_mut().zip(from.row(row)).for_each(|(to, from)| *to += from);
    }
}

impl DenseActivation {
    /// What the layer itself leaves of it to do.
    fn rest(self, x: f32) -> f32 {
        match self {
            Self::Identity | Self::Gelu => x,
            Self::Tanh => x.tanh(),
            Self::Relu => x.max(0.),
            Self::Sigmoid => 1. / (1. + (-x).exp()),
            Self::Silu => x / (1. + (-x).exp()),
        }
    }
}

impl FromStr for DenseActivation {
    type Err = Error;

    /// Reads the path of a class, such as `torch.nn.modules.activation.Tanh`.
    fn from_str(path: &str) -> Result<Self> {
        Ok(match path.rsplit('.').next().unwrap_or_default() {
            "Identity" => Self::Identity,
            "Tanh" => Self::Tanh,
            "ReLU" => Self::Relu,
            "GELU" => Self::Gelu,
            "Sigmoid" => Self::Sigmoid,
            "SiLU" => Self::Silu,
            _ => {
                let message = format!(
                    "activation_function: {path:?} is not supported, only Identity, Tanh, ReLU, GELU, Sigmoid and SiLU of torch.nn"
                );
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        })
    }
}
