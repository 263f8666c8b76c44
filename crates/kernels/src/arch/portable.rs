//! Plain arrays, for any CPU. Compilers make vectors of them where the architecture has some.

use super::Arch;
use crate::microkernel::{ScalarPairs, VectorTile};
use crate::simd::{Simd, VectorOp};

#[derive(Clone, Copy)]
pub(crate) struct Portable(());

impl Arch for Portable {
    type Simd = Self;
    type F32 = VectorTile<Self>;
    type Int8 = ScalarPairs<Self>;
}

#[inline(always)]
fn each(a: [f32; 4], b: [f32; 4], f: impl Fn(f32, f32) -> f32) -> [f32; 4] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Portable {
    type V = [f32; 4];
    const LANES: usize = 4;
    const MR: usize = 4;

    #[inline(always)]
    fn new() -> Option<Self> {
        Some(Self(()))
    }
    #[inline]
    fn vectorize<Op: VectorOp<Self>>(self, op: Op) -> Op::Output {
        op.run(self)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        [value; 4]
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Without the instruction, `mul_add` would call a function.
        each(each(a, b, |a, b| a * b), c, |ab, c| ab + c)
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| if b > a { a } else { b })
    }
    #[inline(always)]
    fn abs(self, a: Self::V) -> Self::V {
        a.map(f32::abs)
    }
    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    fn if_above(self, a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] > b[i] { then[i] } else { otherwise[i] })
    }
    #[inline(always)]
    fn round(self, v: Self::V) -> Self::V {
        // Without the instruction, `round_ties_even` would call a function.
        const ROUND: f32 = 12_582_912.; // 1.5 * 2^23
        v.map(|v| (v + ROUND) - ROUND)
    }
    #[inline(always)]
    fn scale(self, v: Self::V, n: Self::V) -> Self::V {
        each(v, n, |v, n| v * f32::from_bits(((n as i32 + 127) as u32) << 23))
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        // SAFETY: four values can be read.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, count: usize) -> Self::V {
        // SAFETY: `i < count`.
        std::array::from_fn(|i| if i < count { unsafe { *from.add(i) } } else { 0. })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Self::V) {
        // SAFETY: four values can be written.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize, v: Self::V) {
        for (i, value) in v.into_iter().enumerate().take(count) {
            // SAFETY: `i < count`.
            unsafe { *to.add(i) = value };
        }
    }
}
