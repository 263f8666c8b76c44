//! Functions of vectors.

use crate::simd::Simd;
use std::f32::consts::{FRAC_1_SQRT_2, LN_2, LOG2_E};

/// The coefficients of `2^r`, the highest first: nearest for |r| <= 1/2 among
/// those that end with ln 2 and 1, off by 1.1e-7 at most.
const EXP2: [f32; 6] = [0.001_330_060_5, 0.009_669_691, 0.055_505_585, 0.240_222_83, LN_2, 1.];

/// `2^x` for `x <= 0`, to a relative error below 2e-7; what is below `2^-126`
/// is taken for that. NaN stays NaN.
#[inline(always)]
pub(crate) fn exp2<S: Simd>(s: S, x: S::V) -> S::V {
    // Of a NaN the second is taken.
    let x = s.max(s.splat(-126.), x);
    let n = s.round(x);
    s.scale(polynomial(s, &EXP2, s.sub(x, n)), n)
}

/// The polynomial of these coefficients, the highest first.
#[inline(always)]
fn polynomial<S: Simd>(s: S, coefficients: &[f32], x: S::V) -> S::V {
    let mut value = s.splat(coefficients[0]);
    for coefficient in &coefficients[1..] {
        value = s.fma(value, x, s.splat(*coefficient));
    }
    value
}

/// `(e^r - 1 - r) / r^2` by Taylor's series, the highest first. For |r| <= ln 2 / 2, the
/// error is 2e-8 of `e^r - 1`.
const EXPM1: [f32; 6] = [1. / 5040., 1. / 720., 1. / 120., 1. / 24., 1. / 6., 1. / 2.];

/// The smallest argument of [`exp`]; `e^x` is 0 below it.
const MIN_EXP: f32 = -87.;

/// The upper bits of ln 2: their product with a whole number below 2^15 is exact.
const LN_2_HIGH: f32 = 355. / 512.;
const LN_2_LOW: f32 = (std::f64::consts::LN_2 - 355. / 512.) as f32;

/// `e^r - 1` and `n` such that `e^x = e^r 2^n`, for x up to 88, clamped at [`MIN_EXP`].
#[inline(always)]
fn reduced_expm1<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    // `max` returns its second argument if that is NaN.
    let x = s.max(s.splat(MIN_EXP), x);
    let n = s.round(s.mul(x, s.splat(LOG2_E)));
    let r = s.fma(n, s.splat(-LN_2_HIGH), x);
    let r = s.fma(n, s.splat(-LN_2_LOW), r);
    let square = s.mul(r, r);
    (s.fma(polynomial(s, &EXPM1, r), square, r), n)
}

/// `e^x` for x up to 88, to a relative error below 2e-7; 0 below [`MIN_EXP`]. NaN stays NaN.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    let (expm1, n) = reduced_expm1(s, x);
    let power = s.scale(s.add(expm1, s.splat(1.)), n);
    s.if_above(s.splat(MIN_EXP), x, s.zero(), power)
}

/// `e^x - 1` for x up to 88, to a relative error below 3e-7. NaN stays NaN.
#[inline(always)]
pub(crate) fn expm1<S: Simd>(s: S, x: S::V) -> S::V {
    let (expm1, n) = reduced_expm1(s, x);
    let one = s.splat(1.);
    s.add(s.scale(expm1, n), s.sub(s.scale(one, n), one))
}

/// `atanh(s) / s` by its series in `s^2`, the highest first. For |s| <= 1/3, the relative error is
/// 2e-9.
const ATANH: [f32; 8] = [1. / 15., 1. / 13., 1. / 11., 1. / 9., 1. / 7., 1. / 5., 1. / 3., 1.];

/// `ln(1 + x)` for x from 0 to 1, to a relative error below 3e-7. NaN stays NaN.
#[inline(always)]
fn log1p<S: Simd>(s: S, x: S::V) -> S::V {
    // ln(1 + x) = 2 atanh(x / (2 + x))
    let ratio = s.div(x, s.add(x, s.splat(2.)));
    s.mul(s.add(ratio, ratio), polynomial(s, &ATANH, s.mul(ratio, ratio)))
}

/// `ln(1 + e^x)`
#[inline(always)]
pub(crate) fn softplus<S: Simd>(s: S, x: S::V) -> S::V {
    let power = exp(s, s.sub(s.zero(), s.abs(x)));
    s.add(s.max(s.zero(), x), log1p(s, power))
}

/// `1 / (1 + e^-x)`
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let power = exp(s, s.sub(s.zero(), s.abs(x)));
    let one = s.splat(1.);
    s.div(s.if_above(x, s.zero(), one, power), s.add(one, power))
}

/// `tanh(x)`, to a relative error below 6e-7.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::V) -> S::V {
    // tanh(10) is 1 in float32.
    let x = clamp(s, x, -10., 10.);
    let expm1 = expm1(s, s.add(x, x));
    s.div(expm1, s.add(expm1, s.splat(2.)))
}

/// x between `min` and `max`. NaN stays NaN.
#[inline(always)]
pub(crate) fn clamp<S: Simd>(s: S, x: S::V, min: f32, max: f32) -> S::V {
    s.min(s.splat(max), s.max(s.splat(min), x))
}

/// `x/2 (1 + erf(x/sqrt 2))`, to an absolute error below 4e-7 times the greater
/// of 1 and |x|: what `torch.nn.functional.gelu` is by default.
#[inline(always)]
pub(crate) fn gelu<S: Simd>(s: S, x: S::V) -> S::V {
    if S::HAS_TABLES { gelu_by_table(s, x) } else { gelu_by_formula(s, x) }
}

/// Formula 7.1.26 of Abramowitz and Stegun for the error function, the highest
/// first.
const ERF: [f32; 5] = [1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6];

/// `1 - erf(z)` for `z >= 0`.
#[inline(always)]
fn erfc<S: Simd>(s: S, z: S::V) -> S::V {
    let t = s.div(s.splat(1.), s.fma(s.splat(0.327_591_1), z, s.splat(1.)));
    let power = exp2(s, s.mul(s.mul(z, z), s.splat(-LOG2_E)));
    s.mul(s.mul(polynomial(s, &ERF, t), t), power)
}

/// `(1 + erf(x/sqrt 2)) / 2`, to an absolute error below 4e-7.
#[inline(always)]
pub(crate) fn normal_cdf<S: Simd>(s: S, x: S::V) -> S::V {
    let rest = erfc(s, s.mul(s.abs(x), s.splat(FRAC_1_SQRT_2)));
    let tail = s.mul(rest, s.splat(0.5));
    s.if_above(x, s.zero(), s.sub(s.splat(1.), tail), tail)
}

/// [`gelu`], without a table.
#[inline(always)]
fn gelu_by_formula<S: Simd>(s: S, x: S::V) -> S::V {
    let rest = erfc(s, s.mul(s.abs(x), s.splat(FRAC_1_SQRT_2)));
    // erf(x) = sign(x) (1 - rest), so gelu(x) = max(x, 0) - |x| rest / 2.
    let half = s.mul(s.mul(s.abs(x), s.splat(-0.5)), rest);
    s.add(s.max(x, s.zero()), half)
}

/// [`gelu`] by [`TAIL`].
#[inline(always)]
fn gelu_by_table<S: Simd>(s: S, x: S::V) -> S::V {
    let distance = s.abs(x);
    // Added to 1.5 * 2^23, a number is rounded in the lowest bits.
    let round = s.splat(12_582_912.);
    let near = s.min(distance, s.splat(STEP * 31.));
    let index = s.fma(near, s.splat(STEP.recip()), round);
    let centre = s.sub(index, round);
    let apart = s.fma(centre, s.splat(-STEP), near);
    let mut tail = s.look_up(&TAIL[3], index);
    for power in [2, 1, 0] {
        tail = s.fma(tail, apart, s.look_up(&TAIL[power], index));
    }
    // gelu(x) = max(x, 0) - |x| erfc(|x|/sqrt 2)/2
    s.fma(distance, tail, s.max(x, s.zero()))
}

/// From one entry of [`TAIL`] to the next.
const STEP: f32 = 0.1875;

/// Entries of [`TAIL`].
const PLACES: usize = 32;

/// Minus the upper tail of the normal distribution, `-erfc(x/sqrt 2)/2`, near each
/// multiple of [`STEP`]: the coefficients of a cubic in the distance, the lowest
/// first. What is left out is below 3e-7. The last is 0, and so is every tail
/// beyond it.
const TAIL: [[f32; PLACES]; 4] = {
    let mut table = [[0.; PLACES]; 4];
    let mut place = 0;
    while place < PLACES - 1 {
        let cubic = tail_near(place as f64 * STEP as f64);
        let mut power = 0;
        while power < 4 {
            table[power][place] = -(cubic[power] as f32);
            power += 1;
        }
        place += 1;
    }
    table
};

const fn tail_near(x: f64) -> [f64; 4] {
    use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
    let density = const_exp(-x * x / 2.) * FRAC_2_SQRT_PI / 2. * FRAC_1_SQRT_2;
    // The distribution function is 1/2 + density (x + x^3/3 + x^5/(3*5) + ..).
    let (mut sum, mut term, mut odd) = (0., x, 1.);
    while odd < 200. {
        sum += term;
        odd += 2.;
        term *= x * x / odd;
    }
    // Taylor's series there, as far as the fifth power: derivatives of the density
    // are its products with polynomials of Hermite.
    let t = [
        0.5 - density * sum,
        -density,
        density * x / 2.,
        -density * (x * x - 1.) / 6.,
        density * (x * x - 3.) * x / 24.,
        -density * (x * x * x * x - 6. * x * x + 3.) / 120.,
    ];
    // The powers that a cubic lacks are near these of fewer (Chebyshev), for
    // distances up to half a step.
    let h2 = (STEP as f64 / 2.) * (STEP as f64 / 2.);
    [
        t[0] - t[4] * h2 * h2 / 8.,
        t[1] - t[5] * h2 * h2 * 5. / 16.,
        t[2] + t[4] * h2,
        t[3] + t[5] * h2 * 5. / 4.,
    ]
}

/// `e^x` for x from -20 to 0.
const fn const_exp(x: f64) -> f64 {
    // 1 / e^-x, the terms of which are all positive.
    let (mut sum, mut term, mut n) = (0., 1., 0.);
    while n < 100. {
        sum += term;
        n += 1.;
        term *= -x / n;
    }
    1. / sum
}

#[cfg(test)]
mod tests {
    use super::{exp2, gelu};
    use crate::instances::{available, vectorize};
    use crate::simd::{Simd, VectorOp};

    /// A function of each of some values.
    struct Map<'a>(&'a mut [f32], bool);

    impl<S: Simd> VectorOp<S> for Map<'_> {
        type Output = ();

        #[inline(always)]
        fn run(self, s: S) {
            for values in self.0.chunks_mut(S::LANES) {
                // SAFETY: no more than there are.
                unsafe {
                    let x = s.load_part(values.as_ptr(), values.len());
                    let y = if self.1 { gelu(s, x) } else { exp2(s, x) };
                    s.store_part(values.as_mut_ptr(), values.len(), y);
                }
            }
        }
    }

    fn each_isa(arguments: &[f32], gelu: bool, check: impl Fn(f32, f32)) {
        for isa in available() {
            let mut values = arguments.to_vec();
            vectorize!(isa, Map(&mut values, gelu));
            arguments.iter().zip(&values).for_each(|(x, y)| check(*x, *y));
        }
    }

    #[test]
    fn exp2_equals_the_library_function() {
        let arguments: Vec<_> = (0..=1_260_000).map(|step| -(step as f32) / 10_000.).collect();
        each_isa(&arguments, false, |x, y| {
            let expected = f64::from(x).exp2();
            let error = (f64::from(y) - expected).abs() / expected;
            assert!(error < 2e-7, "{x}: {y} {expected}");
        });
        each_isa(&[f32::NAN, -f32::NAN], false, |_, y| assert!(y.is_nan(), "{y}"));
        each_isa(&[0., -1e30, f32::NEG_INFINITY], false, |x, y| {
            assert!(if x == 0. { y == 1. } else { (0. ..1.2e-38).contains(&y) }, "{x}: {y}");
        });
    }

    #[test]
    fn gelu_equals_its_definition() {
        // erf by its series, which converges everywhere.
        let erf = |x: f64| {
            let (mut term, mut sum) = (x, x);
            for n in 1..300 {
                term *= -x * x / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            sum * std::f64::consts::FRAC_2_SQRT_PI
        };
        let arguments: Vec<_> = (-70_000..=70_000).map(|step| step as f32 / 10_000.).collect();
        each_isa(&arguments, true, |x, y| {
            let exact = f64::from(x);
            let expected = exact / 2. * (1. + erf(exact / std::f64::consts::SQRT_2));
            let error = (f64::from(y) - expected).abs();
            assert!(error < 4e-7 * exact.abs().max(1.), "{x}: {y} {expected}");
        });
        each_isa(&[-1e4, 1e4, -30., 30.], true, |x, y| {
            assert!((y - x.max(0.)).abs() < 1e-30, "{x}: {y}");
        });
    }
}
