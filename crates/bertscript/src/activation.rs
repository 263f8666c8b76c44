//! Activation functions under the names of `config.json` and under those of `torch.nn`.
//!
//! Sources: `ACT2FN`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/activations.py>,
//! and <https://github.com/pytorch/pytorch/blob/v2.11.0/torch/nn/modules/activation.py>

use crate::error::{Error, ErrorKind, Result};
use crate::memory::{collect, copied, elements};
use bertscript_kernels::{Element, Linear, Rows, RowsMut, Team, Then};
use std::f64::consts::{FRAC_2_PI, SQRT_2};
use tch::Tensor;

/// An activation without parameters. (`prelu` and `xielu` have parameters of
/// their own, which no BERT checkpoint carries; they are refused.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of transformers and torch.nn")]
pub enum Activation {
    Celu,
    Elu,
    Gelu,
    Gelu10,
    GeluAccurate,
    GeluFast,
    GeluNew,
    GeluPython,
    GeluPythonTanh,
    GeluPytorchTanh,
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    Laplace,
    LeakyRelu,
    Linear,
    LogSigmoid,
    LogSoftmax,
    Mish,
    QuickGelu,
    Relu,
    Relu2,
    Relu6,
    Rrelu,
    Selu,
    Sigmoid,
    Silu,
    Softmax,
    Softmin,
    Softplus,
    Softshrink,
    Softsign,
    SqrtSoftplus,
    Tanh,
    Tanhshrink,
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

/// The classes of `torch.nn` without parameters and without required arguments. (`GLU`
/// changes the width, and is refused.)
const TORCH_CLASSES: [(&str, Activation); 25] = [
    ("CELU", Activation::Celu),
    ("ELU", Activation::Elu),
    ("GELU", Activation::Gelu),
    ("Hardshrink", Activation::Hardshrink),
    ("Hardsigmoid", Activation::Hardsigmoid),
    ("Hardswish", Activation::Hardswish),
    ("Hardtanh", Activation::Hardtanh),
    ("Identity", Activation::Linear),
    ("LeakyReLU", Activation::LeakyRelu),
    ("LogSigmoid", Activation::LogSigmoid),
    ("LogSoftmax", Activation::LogSoftmax),
    ("Mish", Activation::Mish),
    ("RReLU", Activation::Rrelu),
    ("ReLU", Activation::Relu),
    ("ReLU6", Activation::Relu6),
    ("SELU", Activation::Selu),
    ("SiLU", Activation::Silu),
    ("Sigmoid", Activation::Sigmoid),
    ("Softmax", Activation::Softmax),
    ("Softmin", Activation::Softmin),
    ("Softplus", Activation::Softplus),
    ("Softshrink", Activation::Softshrink),
    ("Softsign", Activation::Softsign),
    ("Tanh", Activation::Tanh),
    ("Tanhshrink", Activation::Tanhshrink),
];

impl Activation {
    /// The activation of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        ACTIVATIONS.iter().find(|(known, _)| *known == name).map(|(_, activation)| *activation)
    }

    /// The activation of a class of `torch.nn`, by its path, such as
    /// `torch.nn.modules.activation.Tanh`, with the default arguments of the class.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for any other path.
    pub(crate) fn from_torch_class(path: &str) -> Result<Self> {
        let class = path.strip_prefix("torch.nn.").and_then(|path| path.rsplit('.').next());
        let found = TORCH_CLASSES.iter().find(|(known, _)| Some(*known) == class);
        found.map(|(_, activation)| *activation).ok_or_else(|| {
            let known = TORCH_CLASSES.map(|(class, _)| class).join(", ");
            let message =
                format!("the activation {path:?} is not supported, only {known} of torch.nn");
            Error::new(ErrorKind::Unsupported, message)
        })
    }

    /// Whether a value depends on the others of its row.
    pub(crate) fn is_of_rows(self) -> bool {
        matches!(self, Self::LogSoftmax | Self::Softmax | Self::Softmin)
    }

    /// `[N,in]` through `linear` and the activation, to `[N,out]`. Every row depends on
    /// itself alone, to the last bit.
    pub(crate) fn after_linear<E: Element, O: Element>(
        self,
        linear: &Linear<E>,
        team: &dyn Team,
        x: Rows<'_, E>,
        mut out: RowsMut<'_, O>,
    ) -> Result<()> {
        if self == Self::Gelu {
            return Ok(linear.forward(team, x, Then::Gelu, out)?);
        }
        linear.forward(team, x, Then::Keep, out.reborrow())?;
        for row in 0..out.len() {
            let values = collect(out.row(row).iter().map(|value| value.to_f32()))?;
            for (to, from) in out.row_mut(row).iter_mut().zip(self.row(&values)?) {
                *to = O::from_f32(from);
            }
        }
        Ok(())
    }

    /// The activations of one row. The rarer ones are libtorch's.
    pub(crate) fn row(self, values: &[f32]) -> Result<Vec<f32>> {
        match self {
            Self::Linear => Ok(copied(values)?),
            _ => elements(&self.forward(&Tensor::f_from_slice(values)?)?),
        }
    }

    /// x of any shape -> the same shape. Each formula has upstream's order of
    /// operations, which shows in half precision.
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Celu => x.f_celu()?,
            Self::Elu => x.f_elu()?,
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
            Self::Hardshrink => x.f_hardshrink()?,
            Self::Hardsigmoid => x.f_hardsigmoid()?,
            Self::Hardswish => x.f_hardswish()?,
            Self::Hardtanh => x.f_hardtanh()?,
            Self::Laplace => {
                // Upstream rounds 1/sqrt(2) and 1/sqrt(4 pi) so.
                #[expect(clippy::approx_constant, reason = "the constants of the source")]
                let (mu, sigma) = (0.707107, 0.282095);
                let inner = x.f_sub_scalar(mu)?.f_div_scalar(sigma * SQRT_2)?;
                inner.f_erf()?.f_add_scalar(1.)?.f_mul_scalar(0.5)?
            }
            Self::LeakyRelu => x.f_leaky_relu()?,
            Self::Linear => x.shallow_clone(),
            Self::LogSigmoid => x.f_log_sigmoid()?,
            Self::LogSoftmax => x.f_log_softmax(-1, None)?,
            Self::Mish => x.f_mish()?,
            Self::QuickGelu => x.f_mul(&x.f_mul_scalar(1.702)?.f_sigmoid()?)?,
            Self::Relu => x.f_relu()?,
            Self::Relu2 => x.f_relu()?.f_square()?,
            Self::Relu6 => x.f_relu6()?,
            Self::Rrelu => {
                // Outside of training, the mean of the bounds of the slope.
                let slope = (1. / 8. + 1. / 3.) / 2.;
                x.f_clamp_min(0.)?.f_add(&x.f_clamp_max(0.)?.f_mul_scalar(slope)?)?
            }
            Self::Selu => x.f_selu()?,
            Self::Sigmoid => x.f_sigmoid()?,
            Self::Silu => x.f_silu()?,
            Self::Softmax => x.f_softmax(-1, None)?,
            Self::Softmin => x.f_neg()?.f_softmax(-1, None)?,
            Self::Softplus => x.f_softplus()?,
            Self::Softshrink => x.f_softshrink()?,
            Self::Softsign => x.f_div(&x.f_abs()?.f_add_scalar(1.)?)?,
            Self::SqrtSoftplus => x.f_softplus()?.f_sqrt()?,
            Self::Tanh => x.f_tanh()?,
            Self::Tanhshrink => x.f_sub(&x.f_tanh()?)?,
        })
    }
}

/// `1 + tanh(sqrt(2/pi) * (x + 0.044715 * x^3))`
fn one_plus_tanh(x: &Tensor) -> Result<Tensor> {
    let cubic = x.f_pow_tensor_scalar(3.)?.f_mul_scalar(0.044715)?;
    let inner = x.f_add(&cubic)?.f_mul_scalar(FRAC_2_PI.sqrt())?;
    Ok(inner.f_tanh()?.f_add_scalar(1.)?)
}
