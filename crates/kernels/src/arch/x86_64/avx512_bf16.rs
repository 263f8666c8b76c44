//! AVX-512 BF16: dot products of bfloat16 values.

use super::avx512_vnni::Vnni;
use super::{Avx512, Avx512Vnni};
use crate::arch::{Arch, Bf16Arch};
use crate::bf16::Bf16;
use crate::microkernel::{
    L1_PANEL_BYTES, Microkernel, TileCall, VectorTile, match_rows, reads_rows,
};
use crate::simd::Simd;
use std::arch::x86_64::*;

pub(crate) enum Avx512Bf16 {}

impl Avx512Bf16 {
    /// Whether the CPU has them.
    pub(crate) fn is_available() -> bool {
        Avx512Vnni::is_available() && is_x86_feature_detected!("avx512bf16")
    }
}

impl Arch for Avx512Bf16 {
    type Simd = Avx512;
    type F32 = VectorTile<Avx512>;
    type Int8 = Vnni;
}

impl Bf16Arch for Avx512Bf16 {
    type Bf16 = DotBf16;
    type Bf16AnyK = DotBf16;
}

/// The bf16 microkernel of `vdpbf16ps`.
pub(crate) struct DotBf16(());

impl Microkernel for DotBf16 {
    type Simd = Avx512;
    type B = Bf16;
    reads_rows!(Bf16);

    const MR: usize = Avx512::MR;
    const K_STEP: usize = 2;
    const KC_BYTES: usize = L1_PANEL_BYTES;
    const OVERLAPS_EPILOGUE: bool = false;

    #[inline(always)]
    unsafe fn new(_: Avx512, _: usize) -> Self {
        Self(())
    }

    #[inline(always)]
    unsafe fn run(
        &mut self,
        (): &mut (),
        call: TileCall<Bf16, Bf16>,
        acc: *mut f32,
        _: impl FnMut(),
    ) {
        match_rows!(call.rows, Self::MR, tile(call, acc));
    }

    #[inline(always)]
    unsafe fn run_half(&mut self, (): &mut (), call: TileCall<Bf16, Bf16>, acc: *mut f32) {
        match_rows!(call.rows, Self::MR, half_tile(call, acc));
    }
}

/// Pairs of values, as the instruction takes them.
#[inline(always)]
fn pairs(bits: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits of any value.
    unsafe { std::mem::transmute(bits) }
}

#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn tile<const ROWS: usize>(call: TileCall<Bf16, Bf16>, to: *mut f32) {
    let TileCall { a, lda, b, k, accumulate, ldc, prefetch, .. } = call;
    // SAFETY: there are `ROWS` rows of `k` values, 32 columns of as many, and room for the
    // accumulators.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        if accumulate {
            for (row, sums) in sums.iter_mut().enumerate() {
                let to = to.add(row * ldc);
                *sums = [_mm512_loadu_ps(to), _mm512_loadu_ps(to.add(16))];
            }
        }
        let mut b = b.cast::<__m512i>();
        for group in 0..k / 2 {
            prefetch.fetch_one(group);
            let columns = [pairs(_mm512_loadu_si512(b)), pairs(_mm512_loadu_si512(b.add(1)))];
            for (row, sums) in sums.iter_mut().enumerate() {
                let pair = a.add(row * lda).cast::<i32>().add(group).read_unaligned();
                let pair = pairs(_mm512_set1_epi32(pair));
                sums[0] = _mm512_dpbf16_ps(sums[0], pair, columns[0]);
                sums[1] = _mm512_dpbf16_ps(sums[1], pair, columns[1]);
            }
            b = b.add(2);
        }
        for (row, sums) in sums.into_iter().enumerate() {
            _mm512_storeu_ps(to.add(row * ldc), sums[0]);
            _mm512_storeu_ps(to.add(row * ldc + 16), sums[1]);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn half_tile<const ROWS: usize>(call: TileCall<Bf16, Bf16>, to: *mut f32) {
    let TileCall { a, lda, b, k, ldc, .. } = call;
    // SAFETY: as in `tile`, of the first half of the columns.
    unsafe {
        let mut sums = [_mm512_setzero_ps(); ROWS];
        let mut b = b.cast::<__m512i>();
        for group in 0..k / 2 {
            let column = pairs(_mm512_loadu_si512(b));
            for (row, sum) in sums.iter_mut().enumerate() {
                let pair = a.add(row * lda).cast::<i32>().add(group).read_unaligned();
                *sum = _mm512_dpbf16_ps(*sum, pairs(_mm512_set1_epi32(pair)), column);
            }
            b = b.add(2);
        }
        for (row, sum) in sums.into_iter().enumerate() {
            _mm512_storeu_ps(to.add(row * ldc), sum);
        }
    }
}
