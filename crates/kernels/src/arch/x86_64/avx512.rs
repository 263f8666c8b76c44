//! AVX-512 F.

use crate::arch::Arch;
use crate::arch::x86_64::{Avx2, Madd};
use crate::microkernel::VectorTile;
use crate::simd::{Simd, VectorOp};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Arch for Avx512 {
    type Simd = Self;
    type F32 = VectorTile<Self>;
    type Int8 = Madd<Self>;
}

/// A mask of the first `count` values.
#[inline(always)]
fn mask(count: usize) -> __mmask16 {
    ((1_u32 << count.min(16)) - 1) as __mmask16
}

impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;
    const MR: usize = 14;
    const HAS_TABLES: bool = true;

    #[inline]
    fn new() -> Option<Self> {
        (Avx2::new().is_some() && is_x86_feature_detected!("avx512f")).then_some(Self(()))
    }
    #[inline]
    fn vectorize<Op: VectorOp<Self>>(self, op: Op) -> Op::Output {
        #[target_feature(enable = "avx512f,avx2,fma")]
        fn compiled<Op: VectorOp<Avx512>>(s: Avx512, op: Op) -> Op::Output {
            op.run(s)
        }
        // SAFETY: a value of this type is the proof that the CPU has the instructions.
        unsafe { compiled(self, op) }
    }

    operations! {
        splat(value: f32) -> __m512 = _mm512_set1_ps(value);
        add(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b);
        sub(a: __m512, b: __m512) -> __m512 = _mm512_sub_ps(a, b);
        mul(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
        div(a: __m512, b: __m512) -> __m512 = _mm512_div_ps(a, b);
        fma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
        max(a: __m512, b: __m512) -> __m512 = _mm512_max_ps(a, b);
        min(a: __m512, b: __m512) -> __m512 = _mm512_min_ps(a, b);
        abs(a: __m512) -> __m512 = _mm512_abs_ps(a);
        sqrt(a: __m512) -> __m512 = _mm512_sqrt_ps(a);
        if_above(a: __m512, b: __m512, then: __m512, otherwise: __m512) -> __m512 =
            _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), otherwise, then);
        round(v: __m512) -> __m512 =
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v);
        scale(v: __m512, n: __m512) -> __m512 = _mm512_scalef_ps(v, n);
        look_up(table: &[f32; 32], indices: __m512) -> __m512 = {
            // The instruction takes the lowest five bits.
            let low = _mm512_loadu_ps(table.as_ptr());
            let high = _mm512_loadu_ps(table.as_ptr().add(16));
            _mm512_permutex2var_ps(low, _mm512_castps_si512(indices), high)
        };
        reduce_sum(v: __m512) -> f32 = _mm512_reduce_add_ps(v);
        reduce_max(v: __m512) -> f32 = _mm512_reduce_max_ps(v);
        select_prefix(v: __m512, count: usize, rest: __m512) -> __m512 =
            _mm512_mask_blend_ps(mask(count), rest, v);
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: the CPU has AVX-512, and 16 values can be read.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, count: usize) -> __m512 {
        // SAFETY: the CPU has AVX-512, and the masked values can be read.
        unsafe { _mm512_maskz_loadu_ps(mask(count), from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m512) {
        // SAFETY: the CPU has AVX-512, and 16 values can be written.
        unsafe { _mm512_storeu_ps(to, v) }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize, v: __m512) {
        // SAFETY: the CPU has AVX-512, and the masked values can be written.
        unsafe { _mm512_mask_storeu_ps(to, mask(count), v) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16, count: usize) -> __m512 {
        // SAFETY: the CPU has AVX-512, and `count` values can be read.
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
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16, count: usize, v: __m512) {
        // SAFETY: the CPU has AVX-512, and the masked values can be written.
        unsafe {
            let bits = _mm512_castps_si512(v);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let nudge = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
            let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, nudge));
            // Rounding could carry a NaN into the exponent.
            let quiet = _mm512_set1_epi32(0x40);
            let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
            let nan = _mm512_or_si512(_mm512_srli_epi32::<16>(bits), quiet);
            let rounded = _mm512_mask_blend_epi32(is_nan, rounded, nan);
            _mm512_mask_cvtepi32_storeu_epi16(to.cast(), mask(count), rounded);
        }
    }
    #[inline(always)]
    unsafe fn store_u8(self, to: *mut u8, count: usize, v: __m512) {
        // SAFETY: the CPU has AVX-512, and the masked values can be written.
        unsafe { _mm512_mask_cvtepi32_storeu_epi8(to.cast(), mask(count), _mm512_cvtps_epi32(v)) }
    }
    #[inline(always)]
    unsafe fn store_i16(self, to: *mut i16, count: usize, v: __m512) {
        // SAFETY: the CPU has AVX-512, and the masked values can be written.
        unsafe { _mm512_mask_cvtepi32_storeu_epi16(to.cast(), mask(count), _mm512_cvtps_epi32(v)) }
    }
    #[inline(always)]
    unsafe fn sub_i32(self, a: *const i32, b: *const i32) -> __m512 {
        // SAFETY: the CPU has AVX-512, and 16 values of both can be read.
        unsafe {
            let apart =
                _mm512_sub_epi32(_mm512_loadu_si512(a.cast()), _mm512_loadu_si512(b.cast()));
            _mm512_cvtepi32_ps(apart)
        }
    }
}
