//! Vectors of float32 in the registers of an instruction set.

#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every block hands on the contract of its function"
)]

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
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn abs(a: Self::V) -> Self::V;
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

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    /// AVX2 and FMA.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2;

    #[inline(always)]
    unsafe fn first(count: usize) -> __m256i {
        const ONES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        // `count` ones, from the middle back.
        unsafe { _mm256_loadu_si256(ONES.as_ptr().add(8 - count.min(8)).cast()) }
    }

    impl Simd for Avx2 {
        type V = __m256;
        const LANES: usize = 8;
        const ROWS: usize = 6;

        #[inline(always)]
        unsafe fn splat(value: f32) -> __m256 {
            unsafe { _mm256_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m256 {
            unsafe { _mm256_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn load_part(from: *const f32, count: usize) -> __m256 {
            unsafe { _mm256_maskload_ps(from, first(count)) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, v: __m256) {
            unsafe { _mm256_storeu_ps(to, v) }
        }
        #[inline(always)]
        unsafe fn store_part(to: *mut f32, count: usize, v: __m256) {
            unsafe { _mm256_maskstore_ps(to, first(count), v) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn div(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_div_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn max(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn abs(a: __m256) -> __m256 {
            unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.), a) }
        }
        #[inline(always)]
        unsafe fn round(v: __m256) -> __m256 {
            unsafe { _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC) }
        }
        #[inline(always)]
        unsafe fn scale(v: __m256, n: __m256) -> __m256 {
            unsafe {
                let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_mul_ps(v, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)))
            }
        }
    }

    /// AVX-512 F.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512;

    #[inline(always)]
    fn mask(count: usize) -> __mmask16 {
        ((1_u32 << count.min(16)) - 1) as __mmask16
    }

    impl Simd for Avx512 {
        type V = __m512;
        const LANES: usize = 16;
        const ROWS: usize = 14;

        #[inline(always)]
        unsafe fn splat(value: f32) -> __m512 {
            unsafe { _mm512_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn load_part(from: *const f32, count: usize) -> __m512 {
            unsafe { _mm512_maskz_loadu_ps(mask(count), from) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, v: __m512) {
            unsafe { _mm512_storeu_ps(to, v) }
        }
        #[inline(always)]
        unsafe fn store_part(to: *mut f32, count: usize, v: __m512) {
            unsafe { _mm512_mask_storeu_ps(to, mask(count), v) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn div(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_div_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn max(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn abs(a: __m512) -> __m512 {
            unsafe { _mm512_abs_ps(a) }
        }
        #[inline(always)]
        unsafe fn round(v: __m512) -> __m512 {
            unsafe { _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC) }
        }
        #[inline(always)]
        unsafe fn scale(v: __m512, n: __m512) -> __m512 {
            unsafe { _mm512_scalef_ps(v, n) }
        }
        #[inline(always)]
        unsafe fn gelu(x: __m512) -> __m512 {
            use crate::math::{STEP, TAIL};
            unsafe {
                let distance = _mm512_abs_ps(x);
                // Added to 1.5 * 2^23, a number stands rounded in the lowest bits.
                let round = _mm512_set1_ps(12_582_912.);
                let near = _mm512_min_ps(distance, _mm512_set1_ps(STEP * 31.));
                let place = _mm512_fmadd_ps(near, _mm512_set1_ps(STEP.recip()), round);
                let centre = _mm512_sub_ps(place, round);
                let apart = _mm512_fnmadd_ps(centre, _mm512_set1_ps(STEP), near);
                let place = _mm512_castps_si512(place);
                let coefficient = |power: usize| {
                    let [low, high] =
                        [0, 16].map(|at| _mm512_loadu_ps(TAIL[power].as_ptr().add(at)));
                    _mm512_permutex2var_ps(low, place, high)
                };
                let mut tail = coefficient(3);
                for power in [2, 1, 0] {
                    tail = _mm512_fmadd_ps(tail, apart, coefficient(power));
                }
                // gelu(x) = max(x, 0) - |x| tail(|x|)
                _mm512_fnmadd_ps(distance, tail, _mm512_max_ps(x, _mm512_setzero_ps()))
            }
        }
        #[inline(always)]
        unsafe fn first(v: __m512, count: usize, rest: __m512) -> __m512 {
            unsafe { _mm512_mask_blend_ps(mask(count), rest, v) }
        }
        #[inline(always)]
        unsafe fn sum(v: __m512) -> f32 {
            unsafe { _mm512_reduce_add_ps(v) }
        }
        #[inline(always)]
        unsafe fn greatest(v: __m512) -> f32 {
            unsafe { _mm512_reduce_max_ps(v) }
        }
        #[inline(always)]
        unsafe fn load_bf16(from: *const u16, count: usize) -> __m512 {
            unsafe {
                let halves = match count {
                    16.. => _mm256_loadu_si256(from.cast()),
                    // AVX-512 F masks no values of 16 bits.
                    _ => {
                        let mut halves = [0_u16; 16];
                        std::ptr::copy_nonoverlapping(from, halves.as_mut_ptr(), count);
                        _mm256_loadu_si256(halves.as_ptr().cast())
                    }
                };
                _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16))
            }
        }
        #[inline(always)]
        unsafe fn store_u8(to: *mut u8, count: usize, v: __m512) {
            unsafe {
                _mm512_mask_cvtepi32_storeu_epi8(to.cast(), mask(count), _mm512_cvtps_epi32(v))
            }
        }
        #[inline(always)]
        unsafe fn sub_i32(a: *const i32, b: *const i32) -> __m512 {
            unsafe {
                let apart =
                    _mm512_sub_epi32(_mm512_loadu_si512(a.cast()), _mm512_loadu_si512(b.cast()));
                _mm512_cvtepi32_ps(apart)
            }
        }
        #[inline(always)]
        unsafe fn store_bf16(to: *mut u16, count: usize, v: __m512) {
            unsafe {
                let bits = _mm512_castps_si512(v);
                let odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
                let nudge = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
                let rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, nudge), 16);
                // Rounding might make something else of what is no number.
                let quiet = _mm512_set1_epi32(0x40);
                let is_nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
                let nan = _mm512_or_si512(_mm512_srli_epi32(bits, 16), quiet);
                let rounded = _mm512_mask_blend_epi32(is_nan, rounded, nan);
                _mm512_mask_cvtepi32_storeu_epi16(to.cast(), mask(count), rounded);
            }
        }
    }
}
