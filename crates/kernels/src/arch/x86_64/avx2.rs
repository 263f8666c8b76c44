//! AVX2 and FMA.

use crate::arch::Arch;
use crate::arch::x86_64::Madd;
use crate::microkernel::VectorTile;
use crate::simd::{Simd, VectorOp};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Arch for Avx2 {
    type Simd = Self;
    type F32 = VectorTile<Self>;
    type Int8 = Madd<Self>;
}

/// A mask of the first `count` values.
#[inline(always)]
fn first(count: usize) -> __m256i {
    const ONES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: eight values from one of the first eight on; they are integers either way.
    unsafe { ONES.as_ptr().add(8 - count.min(8)).cast::<__m256i>().read_unaligned() }
}

/// Whole values as integers of 16 bits.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn halves(v: __m256) -> __m128i {
    // SAFETY: the caller's promise.
    unsafe {
        let v = _mm256_cvtps_epi32(v);
        _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v))
    }
}

impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;
    const MR: usize = 6;

    #[inline]
    fn new() -> Option<Self> {
        let is_available = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        is_available.then_some(Self(()))
    }
    #[inline]
    fn vectorize<Op: VectorOp<Self>>(self, op: Op) -> Op::Output {
        #[target_feature(enable = "avx2,fma")]
        fn compiled<Op: VectorOp<Avx2>>(s: Avx2, op: Op) -> Op::Output {
            op.run(s)
        }
        // SAFETY: a value of this type is the proof that the CPU has the instructions.
        unsafe { compiled(self, op) }
    }

    operations! {
        splat(value: f32) -> __m256 = _mm256_set1_ps(value);
        add(a: __m256, b: __m256) -> __m256 = _mm256_add_ps(a, b);
        sub(a: __m256, b: __m256) -> __m256 = _mm256_sub_ps(a, b);
        mul(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b);
        div(a: __m256, b: __m256) -> __m256 = _mm256_div_ps(a, b);
        fma(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
        max(a: __m256, b: __m256) -> __m256 = _mm256_max_ps(a, b);
        min(a: __m256, b: __m256) -> __m256 = _mm256_min_ps(a, b);
        abs(a: __m256) -> __m256 = _mm256_andnot_ps(_mm256_set1_ps(-0.), a);
        sqrt(a: __m256) -> __m256 = _mm256_sqrt_ps(a);
        if_above(a: __m256, b: __m256, then: __m256, otherwise: __m256) -> __m256 =
            _mm256_blendv_ps(otherwise, then, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b));
        round(v: __m256) -> __m256 =
            _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v);
        scale(v: __m256, n: __m256) -> __m256 = {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_mul_ps(v, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
        };
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: the CPU has AVX, and eight values can be read.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, count: usize) -> __m256 {
        // SAFETY: the CPU has AVX, and the masked values can be read.
        unsafe { _mm256_maskload_ps(from, first(count)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m256) {
        // SAFETY: the CPU has AVX, and eight values can be written.
        unsafe { _mm256_storeu_ps(to, v) }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize, v: __m256) {
        // SAFETY: the CPU has AVX, and the masked values can be written.
        unsafe { _mm256_maskstore_ps(to, first(count), v) }
    }
    #[inline(always)]
    unsafe fn store_u8(self, to: *mut u8, count: usize, v: __m256) {
        // SAFETY: the CPU has AVX2, and `count` values can be written.
        unsafe {
            // Those are packed with saturation.
            let halves = _mm_and_si128(halves(v), _mm_set1_epi16(0xff));
            let bytes = _mm_cvtsi128_si64(_mm_packus_epi16(halves, halves)).to_ne_bytes();
            match count {
                8.. => to.cast::<[u8; 8]>().write_unaligned(bytes),
                _ => to.copy_from_nonoverlapping(bytes.as_ptr(), count),
            }
        }
    }
    #[inline(always)]
    unsafe fn store_i16(self, to: *mut i16, count: usize, v: __m256) {
        // SAFETY: the CPU has AVX2, and `count` values can be written.
        unsafe {
            match count {
                8.. => _mm_storeu_si128(to.cast(), halves(v)),
                _ => {
                    let values: [i16; 8] = std::mem::transmute(halves(v));
                    to.copy_from_nonoverlapping(values.as_ptr(), count);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn sub_i32(self, a: *const i32, b: *const i32) -> __m256 {
        // SAFETY: the CPU has AVX2, and eight values of both can be read.
        unsafe {
            let (a, b) = (_mm256_loadu_si256(a.cast()), _mm256_loadu_si256(b.cast()));
            _mm256_cvtepi32_ps(_mm256_sub_epi32(a, b))
        }
    }
}
