//! Activation functions with the default parameters of `torch.nn`, and those that only
//! transformers has.
//!
//! Sources: <https://github.com/pytorch/pytorch/blob/v2.11.0/torch/nn/modules/activation.py>,
//! and `ACT2FN`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/activations.py>

#[cfg(test)]
mod tests;

use crate::element::Element;
use crate::isa::{Isa, Kernel};
use crate::math;
use crate::matrix::RowsMut;
use crate::memory::OutOfMemory;
use crate::simd::Simd;
use crate::team::{Team, share};
use std::f32::consts::SQRT_2;

/// Fewer values than this are not worth a second thread.
const MIN_PARALLEL_WORK: usize = 1 << 14;

/// Rows that one thread takes together.
const BLOCK: usize = 8;

/// An activation function. A value depends on its own input alone, bit for bit, whatever its
/// position; that of a row-wise function on its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `torch.nn.ELU`, and `CELU`, which is the same for alpha = 1: `e^x - 1` below 0.
    Elu,
    /// `torch.nn.GELU`, `gelu`, `gelu_python`: `x/2 (1 + erf(x/sqrt 2))`.
    Gelu,
    /// `gelu_10`: GELU between -10 and 10.
    Gelu10,
    /// `torch.nn.GELU("tanh")`, `gelu_new`, `gelu_fast` and the like:
    /// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
    GeluTanh,
    /// `torch.nn.Hardshrink`: 0 from -0.5 to 0.5.
    Hardshrink,
    /// `torch.nn.Hardsigmoid`: `x/6 + 1/2`, between 0 and 1.
    Hardsigmoid,
    /// `torch.nn.Hardswish`: `x Hardsigmoid(x)`.
    Hardswish,
    /// `torch.nn.Hardtanh`: between -1 and 1.
    Hardtanh,
    /// `laplace`: `(1 + erf((x - mu) / (sigma sqrt 2))) / 2`.
    Laplace,
    /// `torch.nn.LeakyReLU`: `0.01 x` below 0.
    LeakyRelu,
    /// `torch.nn.LogSigmoid`: `-ln(1 + e^-x)`.
    LogSigmoid,
    /// `torch.nn.LogSoftmax`, row-wise: `x - ln(sum of e^x)`.
    LogSoftmax,
    /// `torch.nn.Mish`: `x tanh(ln(1 + e^x))`.
    Mish,
    /// `quick_gelu`: `x sigmoid(1.702 x)`.
    QuickGelu,
    /// `torch.nn.ReLU`.
    Relu,
    /// `relu2`: the square of ReLU.
    Relu2,
    /// `torch.nn.ReLU6`: between 0 and 6.
    Relu6,
    /// `torch.nn.RReLU` outside of training: `(1/8 + 1/3)/2 x` below 0.
    Rrelu,
    /// `torch.nn.SELU`: ELU with `alpha (e^x - 1)` below 0, times a scale.
    Selu,
    /// `torch.nn.Sigmoid`: `1 / (1 + e^-x)`.
    Sigmoid,
    /// `torch.nn.SiLU`, `swish`: `x sigmoid(x)`.
    Silu,
    /// `torch.nn.Softmax`, row-wise: `e^x / (sum of e^x)`.
    Softmax,
    /// `torch.nn.Softmin`, row-wise: Softmax of `-x`.
    Softmin,
    /// `torch.nn.Softplus`: `ln(1 + e^x)`. Its threshold does not show in float32.
    Softplus,
    /// `torch.nn.Softshrink`: `x - clamp(x, -0.5, 0.5)`.
    Softshrink,
    /// `torch.nn.Softsign`: `x / (1 + |x|)`.
    Softsign,
    /// `sqrtsoftplus`: the square root of Softplus.
    SqrtSoftplus,
    /// `torch.nn.Tanh`.
    Tanh,
    /// `torch.nn.Tanhshrink`: `x - tanh(x)`.
    Tanhshrink,
}

impl Activation {
    /// Every function.
    pub const ALL: [Self; 29] = [
        Self::Elu,
        Self::Gelu,
        Self::Gelu10,
        Self::GeluTanh,
        Self::Hardshrink,
        Self::Hardsigmoid,
        Self::Hardswish,
        Self::Hardtanh,
        Self::Laplace,
        Self::LeakyRelu,
        Self::LogSigmoid,
        Self::LogSoftmax,
        Self::Mish,
        Self::QuickGelu,
        Self::Relu,
        Self::Relu2,
        Self::Relu6,
        Self::Rrelu,
        Self::Selu,
        Self::Sigmoid,
        Self::Silu,
        Self::Softmax,
        Self::Softmin,
        Self::Softplus,
        Self::Softshrink,
        Self::Softsign,
        Self::SqrtSoftplus,
        Self::Tanh,
        Self::Tanhshrink,
    ];

    /// Whether a value depends on the others of its row.
    pub fn is_row_wise(self) -> bool {
        matches!(self, Self::LogSoftmax | Self::Softmax | Self::Softmin)
    }

    /// Applies the function to x `[N,H]` in place, in float32, and rounds once.
    ///
    /// # Errors
    /// None at present; it allocates no memory.
    ///
    /// # Panics
    /// If the CPU lacks the instructions.
    pub fn forward<E: Element>(
        self,
        isa: Isa,
        team: &dyn Team,
        x: RowsMut<'_, E>,
    ) -> Result<(), OutOfMemory> {
        assert!(isa.is_available(), "{isa:?}");
        if x.width == 0 {
            return Ok(());
        }
        let team: &dyn Team =
            if x.rows * x.width < MIN_PARALLEL_WORK { &crate::Solo } else { team };
        share(
            team,
            x.rows.div_ceil(BLOCK),
            || Ok(()),
            |(), block| {
                for row in block * BLOCK..x.rows.min((block + 1) * BLOCK) {
                    // SAFETY: available; there is such a row, in this block alone.
                    unsafe {
                        let values = std::slice::from_raw_parts_mut(x.at(row, 0), x.width);
                        isa.run(Row { activation: self, values });
                    }
                }
                Ok(())
            },
        )
    }

    /// Applies an element-wise function to some values.
    ///
    /// # Safety
    /// [`Isa::is_available`].
    #[inline(never)]
    pub(crate) unsafe fn apply(self, isa: Isa, values: &mut [f32]) {
        debug_assert!(!self.is_row_wise());
        // SAFETY: the caller's promise.
        unsafe { isa.run(Row { activation: self, values }) }
    }
}

/// Values of a row.
struct Row<'a, E> {
    activation: Activation,
    values: &'a mut [E],
}

impl<E: Element> Kernel for Row<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { activation, values } = self;
        let (sign, is_log) = match activation {
            Activation::LogSoftmax => (1., true),
            Activation::Softmax => (1., false),
            Activation::Softmin => (-1., false),
            _ => {
                for part in values.chunks_mut(S::LANES) {
                    // SAFETY: as many values as there are.
                    unsafe {
                        let value = value::<S>(activation, E::load::<S>(part.as_ptr(), part.len()));
                        E::store::<S>(part.as_mut_ptr(), part.len(), value);
                    }
                }
                return;
            }
        };
        // SAFETY: the caller's promise.
        unsafe { softmax::<S, E>(values, sign, is_log) }
    }
}

/// Softmax of `sign * x` or its logarithm, of distances to the maximum so that nothing
/// overflows.
#[inline(always)]
unsafe fn softmax<S: Simd, E: Element>(values: &mut [E], sign: f32, is_log: bool) {
    // SAFETY: as many values as there are.
    unsafe {
        let load = |part: &[E]| {
            let x = S::mul(E::load::<S>(part.as_ptr(), part.len()), S::splat(sign));
            // Missing values: their exponential is 0, and they are not the maximum.
            let missing = S::splat(f32::NEG_INFINITY);
            if part.len() < S::LANES { S::first(x, part.len(), missing) } else { x }
        };
        let mut max = S::splat(f32::NEG_INFINITY);
        for part in values.chunks(S::LANES) {
            max = S::max(max, load(part));
        }
        let max = S::splat(S::greatest(max));
        let mut sum = S::zero();
        for part in values.chunks(S::LANES) {
            sum = S::add(sum, math::exp::<S>(S::sub(load(part), max)));
        }
        let sum = S::sum(sum);
        let log_sum = S::splat(if is_log { sum.ln() } else { 0. });
        for part in values.chunks_mut(S::LANES) {
            let distance = S::sub(load(part), max);
            let value = match is_log {
                true => S::sub(distance, log_sum),
                false => S::div(math::exp::<S>(distance), S::splat(sum)),
            };
            E::store::<S>(part.as_mut_ptr(), part.len(), value);
        }
    }
}

/// Element-wise functions; row-wise ones return x.
#[inline(always)]
pub(crate) unsafe fn value<S: Simd>(activation: Activation, x: S::V) -> S::V {
    // The constants of `torch.nn.functional.selu`.
    const ALPHA: f32 = 1.673_263_2;
    const SCALE: f32 = 1.050_701;
    // mu and sigma: upstream rounds 1/sqrt(2) and 1/sqrt(4 pi) so.
    #[expect(clippy::approx_constant, reason = "the constants of the source")]
    const LAPLACE: (f32, f32) = (0.707_107, 0.282_095);
    const TWO_SQRT_FRAC_2_PI: f32 = SQRT_2 * std::f32::consts::FRAC_2_SQRT_PI;
    // SAFETY: the caller's promise.
    unsafe {
        let [zero, half, one] = [0., 0.5, 1.].map(|constant| S::splat(constant));
        let times = |factor: f32| S::mul(x, S::splat(factor));
        // `otherwise` where x <= 0 or NaN.
        let if_positive = |then: S::V, otherwise: S::V| S::if_above(x, zero, then, otherwise);
        // e^min(x, 0) - 1; NaN stays NaN.
        let expm1 = || math::expm1::<S>(S::min(zero, x));
        let hardsigmoid = || {
            let sum = math::clamp::<S>(S::add(x, S::splat(3.)), 0., 6.);
            S::div(sum, S::splat(6.))
        };
        // `math::gelu` multiplies infinity by 0, which is wrong for positive infinity.
        let gelu = || S::if_above(x, S::splat(f32::MAX), x, math::gelu::<S>(x));
        match activation {
            Activation::Elu => if_positive(x, expm1()),
            Activation::Gelu => gelu(),
            Activation::Gelu10 => math::clamp::<S>(gelu(), -10., 10.),
            Activation::GeluTanh => {
                // (1 + tanh(u)) / 2 = sigmoid(2 u)
                let cubic = S::mul(S::mul(x, x), S::splat(0.044_715));
                let inner = S::mul(S::fma(cubic, x, x), S::splat(TWO_SQRT_FRAC_2_PI));
                S::mul(x, math::sigmoid::<S>(inner))
            }
            // x * 0 and not 0, so that NaN stays NaN.
            Activation::Hardshrink => S::if_above(S::abs(x), half, x, S::mul(x, zero)),
            Activation::Hardsigmoid => hardsigmoid(),
            Activation::Hardswish => S::mul(x, hardsigmoid()),
            Activation::Hardtanh => math::clamp::<S>(x, -1., 1.),
            Activation::Laplace => {
                let (mu, sigma) = LAPLACE;
                math::normal_cdf::<S>(S::div(S::sub(x, S::splat(mu)), S::splat(sigma)))
            }
            Activation::LeakyRelu => if_positive(x, times(0.01)),
            Activation::LogSigmoid => S::sub(zero, math::softplus::<S>(S::sub(zero, x))),
            Activation::Mish => {
                // With p = e^x: tanh(ln(1 + p)) = (p^2 + 2 p) / (p^2 + 2 p + 2). For x > 0, both
                // are divided by p^2: then e^-|x| is enough, and nothing overflows.
                let power = math::exp::<S>(S::sub(zero, S::abs(x)));
                let two = S::add(power, power);
                let (small, square) = (S::fma(power, power, two), S::mul(two, power));
                let upper = if_positive(S::add(two, one), small);
                let more = if_positive(square, S::splat(2.));
                S::mul(x, S::div(upper, S::add(upper, more)))
            }
            Activation::QuickGelu => S::mul(x, math::sigmoid::<S>(times(1.702))),
            Activation::Relu => S::max(zero, x),
            Activation::Relu2 => S::mul(S::max(zero, x), S::max(zero, x)),
            Activation::Relu6 => math::clamp::<S>(x, 0., 6.),
            Activation::Rrelu => if_positive(x, times((1. / 8. + 1. / 3.) / 2.)),
            Activation::Selu => if_positive(times(SCALE), S::mul(expm1(), S::splat(SCALE * ALPHA))),
            Activation::Sigmoid => math::sigmoid::<S>(x),
            Activation::Silu => S::mul(x, math::sigmoid::<S>(x)),
            Activation::Softplus => math::softplus::<S>(x),
            Activation::Softshrink => S::sub(x, math::clamp::<S>(x, -0.5, 0.5)),
            Activation::Softsign => S::div(x, S::add(S::abs(x), one)),
            Activation::SqrtSoftplus => S::sqrt(math::softplus::<S>(x)),
            Activation::Tanh => math::tanh::<S>(x),
            Activation::Tanhshrink => S::sub(x, math::tanh::<S>(x)),
            Activation::LogSoftmax | Activation::Softmax | Activation::Softmin => x,
        }
    }
}
