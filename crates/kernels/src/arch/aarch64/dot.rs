//! Dot products: SDOT of signed 8-bit integers, USDOT of unsigned with signed ones (I8MM), and BFDOT of
//! bfloat16 values.
//!
//! The functions of `std::arch` for them are not stable, so they are assembly.

use super::Neon;
use crate::arch::{Arch, Bf16Arch};
use crate::bf16::Bf16;
use crate::microkernel::{
    L1_PANEL_BYTES, Microkernel, TileCall, VectorTile, match_rows, reads_rows,
};
use crate::simd::Simd;
use std::arch::aarch64::*;
use std::arch::asm;
use std::arch::is_aarch64_feature_detected;

/// SDOT.
pub(crate) enum NeonDotprod {}

/// USDOT as well.
pub(crate) enum NeonI8mm {}

/// BFDOT as well.
pub(crate) enum NeonBf16 {}

impl NeonDotprod {
    /// Whether the CPU has it.
    pub(crate) fn is_available() -> bool {
        Neon::new().is_some() && is_aarch64_feature_detected!("dotprod")
    }
}

impl NeonI8mm {
    /// Whether the CPU has it.
    pub(crate) fn is_available() -> bool {
        NeonDotprod::is_available() && is_aarch64_feature_detected!("i8mm")
    }
}

impl NeonBf16 {
    /// Whether the CPU has it.
    pub(crate) fn is_available() -> bool {
        NeonI8mm::is_available() && is_aarch64_feature_detected!("bf16")
    }
}

impl Arch for NeonDotprod {
    type Simd = Neon;
    type F32 = VectorTile<Neon>;
    type Int8 = Sdot;
}

impl Arch for NeonI8mm {
    type Simd = Neon;
    type F32 = VectorTile<Neon>;
    type Int8 = Usdot;
}

impl Arch for NeonBf16 {
    type Simd = Neon;
    type F32 = VectorTile<Neon>;
    type Int8 = Usdot;
}

impl Bf16Arch for NeonBf16 {
    type Bf16 = Bfdot;
    type Bf16AnyK = Bfdot;
}

/// A microkernel whose K groups are 32 bits: an instruction adds the dot products of a row's group with
/// those of four columns.
macro_rules! dot_microkernel {
    (
        $(#[$doc:meta])* $name:ident, $features:literal, $instruction:literal,
        $a:ty, $b:ty, $tile:ident
    ) => {
        $(#[$doc])*
        pub(crate) struct $name(());

        impl Microkernel for $name {
            type Simd = Neon;
            type B = $b;
            reads_rows!($a);

            const MR: usize = Neon::MR;
            const K_STEP: usize = 4 / size_of::<$a>();
            const KC_BYTES: usize = L1_PANEL_BYTES;
            const OVERLAPS_EPILOGUE: bool = false;

            #[inline(always)]
            unsafe fn new(_: Neon, _: usize) -> Self {
                Self(())
            }

            #[inline(always)]
            unsafe fn run(
                &mut self,
                (): &mut (),
                call: TileCall<$a, $b>,
                acc: *mut f32,
                _: impl FnMut(),
            ) {
                match_rows!(call.rows, Self::MR, $tile(call, acc.cast()));
            }
        }

        #[target_feature(enable = $features)]
        unsafe fn $tile<const ROWS: usize>(call: TileCall<$a, $b>, to: *mut u32) {
            let TileCall { a, lda, b, k, accumulate, ldc, prefetch, .. } = call;
            // SAFETY: there are `ROWS` rows of `k` values, 8 columns of as many, and room for the
            // accumulators.
            unsafe {
                let mut sums = [[vdupq_n_u32(0); 2]; ROWS];
                if accumulate {
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let to = to.add(row * ldc);
                        *sums = [vld1q_u32(to), vld1q_u32(to.add(4))];
                    }
                }
                let mut b = b.cast::<u32>();
                for group in 0..k * size_of::<$a>() / 4 {
                    prefetch.fetch_one(group);
                    let columns = [vld1q_u32(b), vld1q_u32(b.add(4))];
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let values = a.add(row * lda).cast::<u32>().add(group).read_unaligned();
                        let values = vdupq_n_u32(values);
                        for (sum, columns) in sums.iter_mut().zip(columns) {
                            asm!(
                                $instruction,
                                sum = inout(vreg) *sum, a = in(vreg) values, b = in(vreg) columns,
                                options(pure, nomem, nostack, preserves_flags)
                            );
                        }
                    }
                    b = b.add(8);
                }
                for (row, sums) in sums.into_iter().enumerate() {
                    vst1q_u32(to.add(row * ldc), sums[0]);
                    vst1q_u32(to.add(row * ldc + 4), sums[1]);
                }
            }
        }
    };
}

dot_microkernel!(
    /// The int8 microkernel of SDOT.
    Sdot, "neon,dotprod", "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b", i8, i8, sdot_tile
);
dot_microkernel!(
    /// The int8 microkernel of USDOT.
    Usdot, "neon,i8mm", "usdot {sum:v}.4s, {a:v}.16b, {b:v}.16b", u8, i8, usdot_tile
);
dot_microkernel!(
    /// The bf16 microkernel of BFDOT.
    Bfdot, "neon,bf16", "bfdot {sum:v}.4s, {a:v}.8h, {b:v}.8h", Bf16, Bf16, bfdot_tile
);
