//! NEON, which every CPU of the architecture has.

use crate::arch::Arch;
use crate::microkernel::{ScalarPairs, VectorTile};
use crate::simd::{Simd, VectorOp};
use std::arch::aarch64::*;

#[derive(Clone, Copy)]
pub(crate) struct Neon(());

impl Arch for Neon {
    type Simd = Self;
    type F32 = VectorTile<Self>;
    type Int8 = ScalarPairs<Self>;
}

impl Simd for Neon {
    type V = float32x4_t;
    const LANES: usize = 4;
    // 24 of 32 registers are accumulators.
    const MR: usize = 12;

    #[inline]
    fn new() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
    #[inline]
    fn vectorize<Op: VectorOp<Self>>(self, op: Op) -> Op::Output {
        #[target_feature(enable = "neon")]
        fn compiled<Op: VectorOp<Neon>>(s: Neon, op: Op) -> Op::Output {
            op.run(s)
        }
        // SAFETY: a value of this type is the proof that the CPU has the instructions.
        unsafe { compiled(self, op) }
    }

    operations! {
        splat(value: f32) -> float32x4_t = vdupq_n_f32(value);
        add(a: float32x4_t, b: float32x4_t) -> float32x4_t = vaddq_f32(a, b);
        sub(a: float32x4_t, b: float32x4_t) -> float32x4_t = vsubq_f32(a, b);
        mul(a: float32x4_t, b: float32x4_t) -> float32x4_t = vmulq_f32(a, b);
        div(a: float32x4_t, b: float32x4_t) -> float32x4_t = vdivq_f32(a, b);
        fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t = vfmaq_f32(c, a, b);
        // Not the instructions, which return NaN where either is.
        max(a: float32x4_t, b: float32x4_t) -> float32x4_t = vbslq_f32(vcgtq_f32(a, b), a, b);
        min(a: float32x4_t, b: float32x4_t) -> float32x4_t = vbslq_f32(vcgtq_f32(b, a), a, b);
        abs(a: float32x4_t) -> float32x4_t = vabsq_f32(a);
        sqrt(a: float32x4_t) -> float32x4_t = vsqrtq_f32(a);
        if_above(
            a: float32x4_t, b: float32x4_t, then: float32x4_t, otherwise: float32x4_t
        ) -> float32x4_t = vbslq_f32(vcgtq_f32(a, b), then, otherwise);
        round(v: float32x4_t) -> float32x4_t = vrndnq_f32(v);
        scale(v: float32x4_t, n: float32x4_t) -> float32x4_t = {
            let exponent = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
            vmulq_f32(v, vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent)))
        };
        reduce_sum(v: float32x4_t) -> f32 =
            vpadds_f32(vadd_f32(vget_low_f32(v), vget_high_f32(v)));
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> float32x4_t {
        // SAFETY: the CPU has NEON, and four values can be read.
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, count: usize) -> float32x4_t {
        let mut lanes = [0.; 4];
        for (i, lane) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: `i < count`.
            *lane = unsafe { *from.add(i) };
        }
        // SAFETY: the CPU has NEON, and there are four values.
        unsafe { vld1q_f32(lanes.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: float32x4_t) {
        // SAFETY: the CPU has NEON, and four values can be written.
        unsafe { vst1q_f32(to, v) }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize, v: float32x4_t) {
        for (i, lane) in self.lanes(v)[..4].iter().enumerate().take(count) {
            // SAFETY: `i < count`.
            unsafe { *to.add(i) = *lane };
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16, count: usize) -> float32x4_t {
        let mut halves = [0_u16; 4];
        // SAFETY: `count` values can be read; the CPU has NEON.
        unsafe {
            halves.as_mut_ptr().copy_from_nonoverlapping(from, count.min(4));
            vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(halves.as_ptr())))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16, count: usize, v: float32x4_t) {
        let mut halves = [0_u16; 4];
        // SAFETY: the CPU has NEON; `count` values can be written.
        unsafe {
            let bits = vreinterpretq_u32_f32(v);
            let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
            let rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
            // Rounding could carry a NaN into the exponent; the bit makes it quiet.
            let nan = vorrq_u32(bits, vdupq_n_u32(0x40 << 16));
            let rounded = vbslq_u32(vceqq_f32(v, v), rounded, nan);
            vst1_u16(halves.as_mut_ptr(), vshrn_n_u32::<16>(rounded));
            to.copy_from_nonoverlapping(halves.as_ptr(), count.min(4));
        }
    }
    #[inline(always)]
    unsafe fn sub_i32(self, a: *const i32, b: *const i32) -> float32x4_t {
        // SAFETY: the CPU has NEON, and four values of both can be read.
        unsafe { vcvtq_f32_s32(vsubq_s32(vld1q_s32(a), vld1q_s32(b))) }
    }
}
