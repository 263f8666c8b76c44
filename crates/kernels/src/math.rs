//! Functions of vectors.

#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every block hands on the contract of its function"
)]

use crate::simd::Simd;
use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};

/// Adding it rounds to a whole number, which then stands in the lowest bits.
const ROUND: f32 = 12_582_912.; // 1.5 * 2^23

/// ln 2 in two parts: products of the first with a small whole number are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// The Taylor coefficients of `e^r`, the highest first; for |r| <= ln(2)/2 the
/// first that is left out is below 6e-9.
const EXP: [f32; 8] = [1. / 5040., 1. / 720., 1. / 120., 1. / 24., 1. / 6., 1. / 2., 1., 1.];

/// `e^x` for `x <= 0`, to a relative error below 3e-7; what is below `e^-87` is
/// taken for that.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    unsafe {
        // e^x = 2^n e^r
        let x = S::max(x, S::splat(-87.));
        let shifted = S::fma(x, S::splat(LOG2_E), S::splat(ROUND));
        let n = S::sub(shifted, S::splat(ROUND));
        let r = S::fma(n, S::splat(-LN_2[0]), x);
        let r = S::fma(n, S::splat(-LN_2[1]), r);
        let mut power = S::splat(EXP[0]);
        for coefficient in &EXP[1..] {
            power = S::fma(power, r, S::splat(*coefficient));
        }
        S::scale(power, shifted)
    }
}

/// Formula 7.1.26 of Abramowitz and Stegun for the error function, the highest
/// first.
const ERF: [f32; 5] = [1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6];

/// `x/2 (1 + erf(x/sqrt 2))`, to an absolute error below 1.5e-7 times `x`: what
/// `torch.nn.functional.gelu` is by default.
#[inline(always)]
pub(crate) unsafe fn gelu<S: Simd>(x: S::V) -> S::V {
    unsafe {
        let minus = S::sub(S::zero(), x);
        let z = S::mul(S::max(x, minus), S::splat(FRAC_1_SQRT_2));
        let t = S::recip(S::fma(S::splat(0.327_591_1), z, S::splat(1.)));
        let mut sum = S::splat(ERF[0]);
        for coefficient in &ERF[1..] {
            sum = S::fma(sum, t, S::splat(*coefficient));
        }
        // 1 - erf(z)
        let rest = S::mul(S::mul(sum, t), exp::<S>(S::sub(S::zero(), S::mul(z, z))));
        // erf(x) = sign(x) (1 - rest), so gelu(x) = max(x, 0) - |x| rest / 2.
        let half = S::mul(S::mul(S::max(x, minus), S::splat(-0.5)), rest);
        S::add(S::max(x, S::zero()), half)
    }
}

#[cfg(test)]
mod tests {
    use super::{exp, gelu};
    use crate::isa::{Isa, Kernel};
    use crate::simd::Simd;

    /// A function of each of some values.
    struct Map<'a>(&'a mut [f32], bool);

    impl Kernel for Map<'_> {
        type Output = ();

        #[inline(always)]
        unsafe fn run<S: Simd>(self) {
            for values in self.0.chunks_mut(S::LANES) {
                // SAFETY: no more than there are.
                unsafe {
                    let x = S::load_part(values.as_ptr(), values.len());
                    let y = if self.1 { gelu::<S>(x) } else { exp::<S>(x) };
                    S::store_part(values.as_mut_ptr(), values.len(), y);
                }
            }
        }
    }

    fn each_isa(arguments: &[f32], gelu: bool, check: impl Fn(f32, f32)) {
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let mut values = arguments.to_vec();
            // SAFETY: available.
            unsafe { isa.run(Map(&mut values, gelu)) };
            arguments.iter().zip(&values).for_each(|(x, y)| check(*x, *y));
        }
    }

    #[test]
    fn exp_equals_the_library_function() {
        let arguments: Vec<_> = (0..=870_000).map(|step| -(step as f32) / 10_000.).collect();
        each_isa(&arguments, false, |x, y| {
            let expected = f64::from(x).exp();
            let error = (f64::from(y) - expected).abs() / expected;
            assert!(error < 3e-7, "{x}: {y} {expected}");
        });
        each_isa(&[0., -1e30, f32::NEG_INFINITY], false, |x, y| {
            assert!(if x == 0. { y == 1. } else { (0. ..1e-37).contains(&y) }, "{x}: {y}");
        });
    }

    #[test]
    fn gelu_equals_its_definition() {
        // erf by its series, which converges everywhere.
        let erf = |x: f64| {
            let (mut term, mut sum) = (x, x);
            for n in 1..200 {
                term *= -x * x / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            sum * std::f64::consts::FRAC_2_SQRT_PI
        };
        let arguments: Vec<_> = (-5000..=5000).map(|step| step as f32 / 1000.).collect();
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
