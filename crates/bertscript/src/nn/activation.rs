//! Activation functions, by libtorch: `ACT2FN`,
//! <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/activations.py>

use crate::activation::Activation;
use crate::error::Result;
use std::f64::consts::{FRAC_2_PI, SQRT_2};
use tch::Tensor;

impl Activation {
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
    use crate::activation::{ACTIVATIONS, TORCH_CLASSES};
    use crate::tensor::elements;
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
