//! Activation functions with the default parameters of `torch.nn`, and those that only
//! transformers has.
//!
//! Sources: <https://github.com/pytorch/pytorch/blob/v2.11.0/torch/nn/modules/activation.py>,
//! and `ACT2FN`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/activations.py>

use crate::element::Element;
use crate::instances::vectorize;
use crate::isa::Isa;
use crate::math;
use crate::matrix::{AnyRowsMut, RowsMut};
use crate::memory::OutOfMemory;
use crate::simd::{Simd, VectorOp};
use crate::team::{Solo, Team, parallel_for};
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
        self.apply_to_rows(isa, team, x.erase())
    }

    pub(crate) fn apply_to_rows(
        self,
        isa: Isa,
        team: &dyn Team,
        x: AnyRowsMut<'_>,
    ) -> Result<(), OutOfMemory> {
        assert!(isa.is_available(), "{isa:?}");
        match x {
            AnyRowsMut::F32(x) => self.apply_to_each(isa, team, &x),
            AnyRowsMut::Bf16(x) => self.apply_to_each(isa, team, &x),
        }
    }

    fn apply_to_each<E: Element>(
        self,
        isa: Isa,
        team: &dyn Team,
        x: &RowsMut<'_, E>,
    ) -> Result<(), OutOfMemory> {
        if x.width == 0 {
            return Ok(());
        }
        let team: &dyn Team = if x.rows * x.width < MIN_PARALLEL_WORK { &Solo } else { team };
        parallel_for(
            team,
            x.rows.div_ceil(BLOCK),
            || Ok(()),
            |(), block| {
                for row in block * BLOCK..x.rows.min((block + 1) * BLOCK) {
                    // SAFETY: there is such a row, in this block alone.
                    let values = unsafe { std::slice::from_raw_parts_mut(x.at(row, 0), x.width) };
                    vectorize!(isa, Row { activation: self, values });
                }
                Ok(())
            },
        )
    }

    /// Applies an element-wise function to some values.
    #[inline(never)]
    pub(crate) fn apply(self, isa: Isa, values: &mut [f32]) {
        debug_assert!(!self.is_row_wise());
        vectorize!(isa, Row { activation: self, values });
    }
}

/// Values of a row.
struct Row<'a, E> {
    activation: Activation,
    values: &'a mut [E],
}

impl<S: Simd, E: Element> VectorOp<S> for Row<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let Self { activation, values } = self;
        let (sign, is_log) = match activation {
            Activation::LogSoftmax => (1., true),
            Activation::Softmax => (1., false),
            Activation::Softmin => (-1., false),
            _ => {
                for part in values.chunks_mut(S::LANES) {
                    // SAFETY: as many values as there are.
                    unsafe {
                        let value = value(s, activation, E::load(s, part.as_ptr(), part.len()));
                        E::store(s, part.as_mut_ptr(), part.len(), value);
                    }
                }
                return;
            }
        };
        softmax(s, values, sign, is_log);
    }
}

/// Softmax of `sign * x` or its logarithm, of distances to the maximum so that nothing
/// overflows.
#[inline(always)]
fn softmax<S: Simd, E: Element>(s: S, values: &mut [E], sign: f32, is_log: bool) {
    // SAFETY: as many values as there are.
    unsafe {
        let mut max = s.splat(f32::NEG_INFINITY);
        for part in values.chunks(S::LANES) {
            max = s.max(max, signed(s, part, sign));
        }
        let max = s.splat(s.reduce_max(max));
        let mut sum = s.zero();
        for part in values.chunks(S::LANES) {
            sum = s.add(sum, math::exp(s, s.sub(signed(s, part, sign), max)));
        }
        let sum = s.reduce_sum(sum);
        let log_sum = s.splat(if is_log { sum.ln() } else { 0. });
        for part in values.chunks_mut(S::LANES) {
            let distance = s.sub(signed(s, part, sign), max);
            let value = match is_log {
                true => s.sub(distance, log_sum),
                false => s.div(math::exp(s, distance), s.splat(sum)),
            };
            E::store(s, part.as_mut_ptr(), part.len(), value);
        }
    }
}

/// `sign * x`. Missing values are -inf: their exponential is 0, and they are not the maximum.
#[inline(always)]
fn signed<S: Simd, E: Element>(s: S, part: &[E], sign: f32) -> S::V {
    // SAFETY: as many values as there are.
    let x = unsafe { E::load(s, part.as_ptr(), part.len()) };
    let x = s.mul(x, s.splat(sign));
    let missing = s.splat(f32::NEG_INFINITY);
    if part.len() < S::LANES { s.select_prefix(x, part.len(), missing) } else { x }
}

/// Element-wise functions; row-wise ones return x.
#[inline(always)]
pub(crate) fn value<S: Simd>(s: S, activation: Activation, x: S::V) -> S::V {
    // The constants of `torch.nn.functional.selu`.
    const ALPHA: f32 = 1.673_263_2;
    const SCALE: f32 = 1.050_701;
    // mu and sigma: upstream rounds 1/sqrt(2) and 1/sqrt(4 pi) so.
    #[expect(clippy::approx_constant, reason = "the constants of the source")]
    const LAPLACE: (f32, f32) = (0.707_107, 0.282_095);
    const TWO_SQRT_FRAC_2_PI: f32 = SQRT_2 * std::f32::consts::FRAC_2_SQRT_PI;
    let (zero, half, one) = (s.zero(), s.splat(0.5), s.splat(1.));
    let times = |factor: f32| s.mul(x, s.splat(factor));
    // `otherwise` where x <= 0 or NaN.
    let if_positive = |then: S::V, otherwise: S::V| s.if_above(x, zero, then, otherwise);
    match activation {
        Activation::Elu => if_positive(x, negative_expm1(s, x)),
        Activation::Gelu => gelu(s, x),
        Activation::Gelu10 => math::clamp(s, gelu(s, x), -10., 10.),
        Activation::GeluTanh => {
            // (1 + tanh(u)) / 2 = sigmoid(2 u)
            let cubic = s.mul(s.mul(x, x), s.splat(0.044_715));
            let inner = s.mul(s.fma(cubic, x, x), s.splat(TWO_SQRT_FRAC_2_PI));
            s.mul(x, math::sigmoid(s, inner))
        }
        // x * 0 and not 0, so that NaN stays NaN.
        Activation::Hardshrink => s.if_above(s.abs(x), half, x, s.mul(x, zero)),
        Activation::Hardsigmoid => hardsigmoid(s, x),
        Activation::Hardswish => s.mul(x, hardsigmoid(s, x)),
        Activation::Hardtanh => math::clamp(s, x, -1., 1.),
        Activation::Laplace => {
            let (mu, sigma) = LAPLACE;
            math::normal_cdf(s, s.div(s.sub(x, s.splat(mu)), s.splat(sigma)))
        }
        Activation::LeakyRelu => if_positive(x, times(0.01)),
        Activation::LogSigmoid => s.sub(zero, math::softplus(s, s.sub(zero, x))),
        Activation::Mish => {
            // With p = e^x: tanh(ln(1 + p)) = (p^2 + 2 p) / (p^2 + 2 p + 2). For x > 0, both
            // are divided by p^2: then e^-|x| is enough, and nothing overflows.
            let power = math::exp(s, s.sub(zero, s.abs(x)));
            let two = s.add(power, power);
            let (small, square) = (s.fma(power, power, two), s.mul(two, power));
            let upper = if_positive(s.add(two, one), small);
            let more = if_positive(square, s.splat(2.));
            s.mul(x, s.div(upper, s.add(upper, more)))
        }
        Activation::QuickGelu => s.mul(x, math::sigmoid(s, times(1.702))),
        Activation::Relu => s.max(zero, x),
        Activation::Relu2 => s.mul(s.max(zero, x), s.max(zero, x)),
        Activation::Relu6 => math::clamp(s, x, 0., 6.),
        Activation::Rrelu => if_positive(x, times((1. / 8. + 1. / 3.) / 2.)),
        Activation::Selu => {
            if_positive(times(SCALE), s.mul(negative_expm1(s, x), s.splat(SCALE * ALPHA)))
        }
        Activation::Sigmoid => math::sigmoid(s, x),
        Activation::Silu => s.mul(x, math::sigmoid(s, x)),
        Activation::Softplus => math::softplus(s, x),
        Activation::Softshrink => s.sub(x, math::clamp(s, x, -0.5, 0.5)),
        Activation::Softsign => s.div(x, s.add(s.abs(x), one)),
        Activation::SqrtSoftplus => s.sqrt(math::softplus(s, x)),
        Activation::Tanh => math::tanh(s, x),
        Activation::Tanhshrink => s.sub(x, math::tanh(s, x)),
        Activation::LogSoftmax | Activation::Softmax | Activation::Softmin => x,
    }
}

// Functions and not closures: those have no target features, and may stay calls.

/// `e^min(x, 0) - 1`; NaN stays NaN.
#[inline(always)]
fn negative_expm1<S: Simd>(s: S, x: S::V) -> S::V {
    math::expm1(s, s.min(s.zero(), x))
}

#[inline(always)]
fn hardsigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let sum = math::clamp(s, s.add(x, s.splat(3.)), 0., 6.);
    s.div(sum, s.splat(6.))
}

/// `math::gelu` multiplies infinity by 0, which is wrong for positive infinity.
#[inline(always)]
fn gelu<S: Simd>(s: S, x: S::V) -> S::V {
    s.if_above(x, s.splat(f32::MAX), x, math::gelu(s, x))
}
