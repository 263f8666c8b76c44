//! AVX-512 VNNI: dot products of 8-bit integers.

use super::Avx512;
use crate::arch::Arch;
use crate::microkernel::{
    L1_PANEL_BYTES, Microkernel, TileCall, VectorTile, match_rows, reads_rows,
};
use crate::simd::Simd;
use std::arch::x86_64::*;

pub(crate) enum Avx512Vnni {}

impl Avx512Vnni {
    /// Whether the CPU has them.
    pub(crate) fn is_available() -> bool {
        Avx512::new().is_some() && is_x86_feature_detected!("avx512vnni")
    }
}

impl Arch for Avx512Vnni {
    type Simd = Avx512;
    type F32 = VectorTile<Avx512>;
    type Int8 = Vnni;
}

/// The int8 microkernel of `vpdpbusd`.
pub(crate) struct Vnni(());

impl Microkernel for Vnni {
    type Simd = Avx512;
    type B = i8;
    reads_rows!(u8);

    const MR: usize = Avx512::MR;
    const K_STEP: usize = 4;
    const KC_BYTES: usize = L1_PANEL_BYTES;
    const OVERLAPS_EPILOGUE: bool = false;

    #[inline(always)]
    unsafe fn new(_: Avx512, _: usize) -> Self {
        Self(())
    }

    #[inline(always)]
    unsafe fn run(&mut self, (): &mut (), call: TileCall<u8, i8>, acc: *mut f32, _: impl FnMut()) {
        debug_assert_eq!(call.ldc, Self::NR);
        match_rows!(call.rows, Self::MR, tile(call, acc.cast()));
    }
}

#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn tile<const ROWS: usize>(call: TileCall<u8, i8>, to: *mut i32) {
    let TileCall { a, lda, b, k, accumulate, prefetch, .. } = call;
    // SAFETY: there are `ROWS` rows of `k` values, 32 columns of as many, and room for the
    // accumulators.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); 2]; ROWS];
        if accumulate {
            for (row, sums) in sums.iter_mut().enumerate() {
                let to = to.add(row * 32).cast::<__m512i>();
                *sums = [_mm512_loadu_si512(to), _mm512_loadu_si512(to.add(1))];
            }
        }
        let mut b = b.cast::<__m512i>();
        for group in 0..k / 4 {
            prefetch.fetch_one(group);
            let columns = [_mm512_loadu_si512(b), _mm512_loadu_si512(b.add(1))];
            for (row, sums) in sums.iter_mut().enumerate() {
                let four = a.add(row * lda).cast::<i32>().add(group).read_unaligned();
                let four = _mm512_set1_epi32(four);
                sums[0] = _mm512_dpbusd_epi32(sums[0], four, columns[0]);
                sums[1] = _mm512_dpbusd_epi32(sums[1], four, columns[1]);
            }
            b = b.add(2);
        }
        for (row, sums) in sums.into_iter().enumerate() {
            _mm512_storeu_si512(to.add(row * 32).cast(), sums[0]);
            _mm512_storeu_si512(to.add(row * 32 + 16).cast(), sums[1]);
        }
    }
}
