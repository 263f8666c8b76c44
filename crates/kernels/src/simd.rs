//! Vectors of float32 in the registers of an instruction set.

#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every block hands on the contract of its function"
)]

#[cfg(target_arch = "x86_64")]
mod x86;

use crate::element::{Bf16, Element};

/// A vector type with what the kernels do with it.
///
/// # Safety
/// Every function needs the instructions of the set; those with pointers read
/// or write as many values as their name says, at any alignment.
pub(crate) trait Simd: Copy + 'static {
    /// A vector.
    type V: Copy;
    /// Values in a vector.
    const LANES: usize;
    /// Rows of the tile whose sums, two vectors each, fill the registers.
    const ROWS: usize;

    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    /// The first `count` values; zeros after them.
    unsafe fn load_part(from: *const f32, count: usize) -> Self::V;
    unsafe fn store(to: *mut f32, v: Self::V);
    unsafe fn store_part(to: *mut f32, count: usize, v: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The greater of both; `b` where one is NaN.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn abs(a: Self::V) -> Self::V;
    unsafe fn sqrt(a: Self::V) -> Self::V;
    /// `then` where `a > b`; `otherwise` elsewhere, and where either is NaN.
    unsafe fn if_above(a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V;
    /// The nearest whole numbers.
    unsafe fn round(v: Self::V) -> Self::V;
    /// `v * 2^n` of whole `n` from -126 to 127.
    unsafe fn scale(v: Self::V, n: Self::V) -> Self::V;
    /// See [`crate::math::gelu`].
    #[inline(always)]
    unsafe fn gelu(x: Self::V) -> Self::V {
        unsafe { crate::math::gelu_by_formula::<Self>(x) }
    }

    /// The first `count` values of bfloat16; zeros after them.
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16, count: usize) -> Self::V {
        let mut lanes = [0.; 16];
        for (i, lane) in lanes.iter_mut().enumerate().take(count.min(Self::LANES)) {
            *lane = f32::from_bits(u32::from(unsafe { *from.add(i) }) << 16);
        }
        unsafe { Self::load(lanes.as_ptr()) }
    }

    /// The first `count` values, rounded to the nearest bfloat16, of two equally
    /// near ones to the even.
    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, count: usize, v: Self::V) {
        let lanes = unsafe { Self::lanes(v) };
        for (i, lane) in lanes.into_iter().enumerate().take(count.min(Self::LANES)) {
            unsafe { *to.add(i) = Bf16::from_f32(lane).0 };
        }
    }

    /// Stores the first `count` values, which are whole, from 0 to 255.
    #[inline(always)]
    unsafe fn store_u8(to: *mut u8, count: usize, v: Self::V) {
        let lanes = unsafe { Self::lanes(v) };
        for (i, lane) in lanes.into_iter().enumerate().take(count.min(Self::LANES)) {
            unsafe { *to.add(i) = lane as u8 };
        }
    }

    /// Differences of integers.
    #[inline(always)]
    unsafe fn sub_i32(a: *const i32, b: *const i32) -> Self::V {
        let mut lanes = [0.; 16];
        for (i, lane) in lanes.iter_mut().enumerate().take(Self::LANES) {
            *lane = unsafe { *a.add(i) - *b.add(i) } as f32;
        }
        unsafe { Self::load(lanes.as_ptr()) }
    }

    /// The smaller of both; `b` where one is NaN.
    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        unsafe { Self::if_above(b, a, a, b) }
    }

    #[inline(always)]
    unsafe fn zero() -> Self::V {
        unsafe { Self::splat(0.) }
    }

    #[inline(always)]
    unsafe fn lanes(v: Self::V) -> [f32; 16] {
        let mut lanes = [0.; 16];
        unsafe { Self::store(lanes.as_mut_ptr(), v) };
        lanes
    }

    /// The sum of all values, added up in halves.
    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        let mut lanes = unsafe { Self::lanes(v) };
        let mut half = Self::LANES / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] += lanes[i + half];
            }
            half /= 2;
        }
        lanes[0]
    }

    /// The first `count` values of `v`, and the others of `rest`.
    #[inline(always)]
    unsafe fn first(v: Self::V, count: usize, rest: Self::V) -> Self::V {
        let mut lanes = unsafe { Self::lanes(v) };
        let rest = unsafe { Self::lanes(rest) };
        lanes[count..].copy_from_slice(&rest[count..]);
        unsafe { Self::load(lanes.as_ptr()) }
    }

    /// The greatest of all values.
    #[inline(always)]
    unsafe fn greatest(v: Self::V) -> f32 {
        let lanes = unsafe { Self::lanes(v) };
        lanes[..Self::LANES].iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }
}

/// Plain arrays, for any CPU.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

#[inline(always)]
fn each(a: [f32; 4], b: [f32; 4], f: impl Fn(f32, f32) -> f32) -> [f32; 4] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Portable {
    type V = [f32; 4];
    const LANES: usize = 4;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        [value; 4]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> Self::V {
        std::array::from_fn(|i| if i < count { unsafe { *from.add(i) } } else { 0. })
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        unsafe { to.cast::<[f32; 4]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn store_part(to: *mut f32, count: usize, v: Self::V) {
        for (i, value) in v.into_iter().enumerate().take(count) {
            unsafe { *to.add(i) = value };
        }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Without the instruction, `mul_add` would call a function.
        each(each(a, b, |a, b| a * b), c, |ab, c| ab + c)
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn abs(a: Self::V) -> Self::V {
        a.map(f32::abs)
    }
    #[inline(always)]
    unsafe fn sqrt(a: Self::V) -> Self::V {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    unsafe fn if_above(a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] > b[i] { then[i] } else { otherwise[i] })
    }
    #[inline(always)]
    unsafe fn round(v: Self::V) -> Self::V {
        // Without the instruction, `round_ties_even` would call a function.
        const ROUND: f32 = 12_582_912.; // 1.5 * 2^23
        v.map(|v| (v + ROUND) - ROUND)
    }
    #[inline(always)]
    unsafe fn scale(v: Self::V, n: Self::V) -> Self::V {
        each(v, n, |v, n| v * f32::from_bits(((n as i32 + 127) as u32) << 23))
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};
