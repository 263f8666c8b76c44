//! Activation functions under the names of `config.json`.
//!
//! Source: `ACT2FN`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/activations.py>

use crate::error::Result;
use std::f64::consts::{FRAC_2_PI, SQRT_2};
use tch::Tensor;

/// An activation without parameters. (`prelu` and `xielu` have parameters of
/// their own, which no BERT checkpoint carries; they are refused.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are transformers' own; `ACTIVATIONS` lists them")]
pub enum Activation {
    Gelu,
    Gelu10,
    GeluAccurate,
    GeluFast,
    GeluNew,
    GeluPython,
    GeluPythonTanh,
    GeluPytorchTanh,
    Hardswish,
    Laplace,
    LeakyRelu,
    Linear,
    Mish,
    QuickGelu,
    Relu,
    Relu2,
    Relu6,
    Sigmoid,
    Silu,
    SqrtSoftplus,
    Tanh,
}

/// The names that `hidden_act` may have.
pub const ACTIVATIONS: [(&str, Activation); 22] = [
    ("gelu", Activation::Gelu),
    ("gelu_10", Activation::Gelu10),
    ("gelu_accurate", Activation::GeluAccurate),
    ("gelu_fast", Activation::GeluFast),
    ("gelu_new", Activation::GeluNew),
    ("gelu_python", Activation::GeluPython),
    ("gelu_python_tanh", Activation::GeluPythonTanh),
    ("gelu_pytorch_tanh", Activation::GeluPytorchTanh),
    ("hardswish", Activation::Hardswish),
    ("laplace", Activation::Laplace),
    ("leaky_relu", Activation::LeakyRelu),
    ("linear", Activation::Linear),
    ("mish", Activation::Mish),
    ("quick_gelu", Activation::QuickGelu),
    ("relu", Activation::Relu),
    ("relu2", Activation::Relu2),
    ("relu6", Activation::Relu6),
    ("sigmoid", Activation::Sigmoid),
    ("silu", Activation::Silu),
    ("sqrtsoftplus", Activation::SqrtSoftplus),
    ("swish", Activation::Silu),
    ("tanh", Activation::Tanh),
];

impl Activation {
    /// The activation of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        ACTIVATIONS.iter().find(|(known, _)| *known == name).map(|(_, activation)| *activation)
    }

    /// x of any shape -> the same shape. Each formula has upstream's order of
    /// operations, which shows in half precision.
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Gelu => x.f_gelu("none")?,
            Self::Gelu10 => x.f_gelu("none")?.f_clamp(-10., 10.)?,
            Self::GeluPytorchTanh => x.f_gelu("tanh")?,
            Self::GeluNew | Self::GeluAccurate | Self::GeluPythonTanh => {
                x.f_mul_scalar(0.5)?.f_mul(&one_plus_tanh(x)?)?
            }
            Self::GeluFast => {
                let cubic = x.f_mul_scalar(0.044715)?.f_mul(x)?.f_add_scalar(1.)?;
                let inner = x.f_mul_scalar(0.7978845608)?.f_mul(&cubic)?;
                x.f_mul_scalar(0.5)?.f_mul(&inner.f_tanh()?.f_add_scalar(1.)?)?
            }
            Self::GeluPython => {
                let erf = x.f_div_scalar(SQRT_2)?.f_erf()?;
                x.f_mul_scalar(0.5)?.f_mul(&erf.f_add_scalar(1.)?)?
            }
            Self::Hardswish => x.f_hardswish()?,
            Self::Laplace => {
                // Upstream rounds 1/sqrt(2) and 1/sqrt(4 pi) so.
                #[expect(clippy::approx_constant, reason = "the constants of the source")]
                let (mu, sigma) = (0.707107, 0.282095);
                let inner = x.f_sub_scalar(mu)?.f_div_scalar(sigma * SQRT_2)?;
                inner.f_erf()?.f_add_scalar(1.)?.f_mul_scalar(0.5)?
            }
            Self::LeakyRelu => x.f_leaky_relu()?,
            Self::Linear => x.shallow_clone(),
            Self::Mish => x.f_mish()?,
            Self::QuickGelu => x.f_mul(&x.f_mul_scalar(1.702)?.f_sigmoid()?)?,
            Self::Relu => x.f_relu()?,
            Self::Relu2 => x.f_relu()?.f_square()?,
            Self::Relu6 => x.f_relu6()?,
            Self::Sigmoid => x.f_sigmoid()?,
            Self::Silu => x.f_silu()?,
            Self::SqrtSoftplus => x.f_softplus()?.f_sqrt()?,
            Self::Tanh => x.f_tanh()?,
        })
    }
}

/// `1 + tanh(sqrt(2/pi) * (x + 0.044715 * x^3))`
fn one_plus_tanh(x: &Tensor) -> Result<Tensor> {
    let cubic = x.f_pow_tensor_scalar(3.)?.f_mul_scalar(0.044715)?;
    let inner = x.f_add(&cubic)?.f_mul_scalar(FRAC_2_PI.sqrt())?;
    Ok(inner.f_tanh()?.f_add_scalar(1.)?)
}
