//! Activation functions under the names of `config.json` and under those of `torch.nn`.
//!
//! Sources: `ACT2FN`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/activations.py>,
//! and <https://github.com/pytorch/pytorch/blob/v2.11.0/torch/nn/modules/activation.py>

#![deny(clippy::disallowed_methods)]

use crate::error::{Error, ErrorKind, Result};
use crate::memory::copied;
use bertscript_kernels::{Element, Isa, Linear, Matrix, Rows, RowsMut, Solo, Team, Then};
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
        self.kernel().is_some_and(bertscript_kernels::Activation::is_row_wise)
    }

    /// x `[N,2I]`, gate and up beside one another, -> `activation(gate) * up` `[N,I]`
    pub(crate) fn glu<E: Element>(
        self,
        isa: Isa,
        team: &dyn Team,
        x: Rows<'_, f32>,
        out: RowsMut<'_, E>,
    ) -> Result<()> {
        Ok(bertscript_kernels::glu(isa, team, self.kernel(), x, out)?)
    }

    /// `[N,in]` through `linear` and the activation, to `[N,out]`. Every row depends on
    /// itself alone, bit for bit.
    pub(crate) fn after_linear<E: Element, O: Element>(
        self,
        linear: &Linear<E>,
        team: &dyn Team,
        x: Rows<'_, E>,
        out: RowsMut<'_, O>,
    ) -> Result<()> {
        let then = match (self, self.kernel()) {
            (Self::Gelu, _) => Then::Gelu,
            (_, Some(kernel)) => Then::Activation(kernel),
            (_, None) => Then::Keep,
        };
        Ok(linear.forward(team, x, then, out)?)
    }

    /// The activations of one row.
    pub(crate) fn row(self, values: &[f32]) -> Result<Vec<f32>> {
        let Some(kernel) = self.kernel() else { return Ok(copied(values)?) };
        let isa = Isa::best().map_err(|message| Error::new(ErrorKind::InvalidInput, message))?;
        let mut row = Matrix::new(values.len());
        row.set_rows(1)?;
        row.row_mut(0).copy_from_slice(values);
        kernel.forward(isa, &Solo, row.all_mut())?;
        Ok(copied(row.row(0))?)
    }

    /// The function of the kernels; `None` for the identity.
    fn kernel(self) -> Option<bertscript_kernels::Activation> {
        use bertscript_kernels::Activation as Kernel;
        Some(match self {
            Self::Celu | Self::Elu => Kernel::Elu,
            Self::Gelu | Self::GeluPython => Kernel::Gelu,
            Self::Gelu10 => Kernel::Gelu10,
            Self::GeluAccurate
            | Self::GeluFast
            | Self::GeluNew
            | Self::GeluPythonTanh
            | Self::GeluPytorchTanh => Kernel::GeluTanh,
            Self::Hardshrink => Kernel::Hardshrink,
            Self::Hardsigmoid => Kernel::Hardsigmoid,
            Self::Hardswish => Kernel::Hardswish,
            Self::Hardtanh => Kernel::Hardtanh,
            Self::Laplace => Kernel::Laplace,
            Self::LeakyRelu => Kernel::LeakyRelu,
            Self::Linear => return None,
            Self::LogSigmoid => Kernel::LogSigmoid,
            Self::LogSoftmax => Kernel::LogSoftmax,
            Self::Mish => Kernel::Mish,
            Self::QuickGelu => Kernel::QuickGelu,
            Self::Relu => Kernel::Relu,
            Self::Relu2 => Kernel::Relu2,
            Self::Relu6 => Kernel::Relu6,
            Self::Rrelu => Kernel::Rrelu,
            Self::Selu => Kernel::Selu,
            Self::Sigmoid => Kernel::Sigmoid,
            Self::Silu => Kernel::Silu,
            Self::Softmax => Kernel::Softmax,
            Self::Softmin => Kernel::Softmin,
            Self::Softplus => Kernel::Softplus,
            Self::Softshrink => Kernel::Softshrink,
            Self::Softsign => Kernel::Softsign,
            Self::SqrtSoftplus => Kernel::SqrtSoftplus,
            Self::Tanh => Kernel::Tanh,
            Self::Tanhshrink => Kernel::Tanhshrink,
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::elements;
    use tch::Kind;

    fn libtorch(activation: Activation, row: &[f32], kind: Kind) -> Vec<f32> {
        let values = activation.forward(&Tensor::from_slice(row).to_kind(kind)).unwrap();
        elements(&values.to_kind(Kind::Float)).unwrap()
    }

    fn all() -> impl Iterator<Item = Activation> {
        ACTIVATIONS.into_iter().chain(TORCH_CLASSES).map(|(_, activation)| activation)
    }

    #[test]
    fn rows_equal_those_of_libtorch() {
        let near = (-80_000..=80_000).map(|step| step as f32 / 4_000.);
        let far = (0..=u32::MAX).step_by(100_003).map(f32::from_bits).filter(|x| x.is_finite());
        let x: Vec<_> = near.chain(far).collect();
        let of_rows = [[3., -1.5, 0.25, 8., -40., 1e-3, 1.].as_slice(), &x[..5000]];
        for activation in all() {
            let rows = if activation.is_of_rows() { &of_rows[..] } else { &[&x[..]] };
            for row in rows {
                // float64: in float32, libtorch's GELU and ours differ by up to 1e-6.
                let expected = libtorch(activation, row, Kind::Double);
                let found = activation.row(row).unwrap();
                for ((x, found), expected) in row.iter().zip(found).zip(expected) {
                    let error = (f64::from(found) - f64::from(expected)).abs();
                    let bound = 1e-6 + 1e-6 * f64::from(expected.abs());
                    let is_equal = found == expected || error <= bound;
                    assert!(is_equal, "{activation:?} of {x}: {found}, libtorch has {expected}");
                }
            }
        }
    }

    #[test]
    fn values_that_are_not_finite_become_those_of_libtorch() {
        for activation in all() {
            for what in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                // libtorch's vectorized code may differ from its scalar code: GELU of infinity is
                // NaN in the former and infinity in the latter.
                let [long, short] = [64, 1].map(|count| {
                    let row = vec![what; count];
                    let found = activation.row(&row).unwrap()[0];
                    (found, libtorch(activation, &row, Kind::Float)[0])
                });
                for (found, _) in [long, short] {
                    let is_found =
                        |expected: f32| found == expected || (found.is_nan() && expected.is_nan());
                    let theirs = [long.1, short.1];
                    assert!(
                        theirs.into_iter().any(is_found),
                        "{activation:?} of {what}: {found}, libtorch has {theirs:?}"
                    );
                }
            }
        }
    }
}
