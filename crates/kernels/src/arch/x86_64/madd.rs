//! int8 without dot-product instructions, in pairs of 16 bits: `vpmaddwd`.
//!
//! `vpmaddubsw` takes four times 8 bits, but saturates: two products of unsigned and signed values
//! do not fit into 16 bits.

use crate::microkernel::{L1_PANEL_BYTES, Microkernel, TileCall, match_rows, reads_rows};
use crate::simd::Simd;
use std::arch::x86_64::*;
use std::marker::PhantomData;

/// The int8 microkernel of AVX2, for panels of the vectors `S`, which are AVX2's or wider.
pub(crate) struct Madd<S>(PhantomData<S>);

impl<S: Simd> Microkernel for Madd<S> {
    type Simd = S;
    type B = i16;
    reads_rows!(i16);

    /// 12 accumulators, of 16 registers.
    const MR: usize = 12 / (S::NR / 8);
    const K_STEP: usize = 2;
    const KC_BYTES: usize = L1_PANEL_BYTES;
    const OVERLAPS_EPILOGUE: bool = false;

    #[inline(always)]
    unsafe fn new(_: S, _: usize) -> Self {
        Self(PhantomData)
    }

    #[inline(always)]
    unsafe fn run(
        &mut self,
        (): &mut (),
        call: TileCall<i16, i16>,
        acc: *mut f32,
        _: impl FnMut(),
    ) {
        debug_assert_eq!(call.ldc, Self::NR);
        let acc = acc.cast();
        match S::NR {
            16 => match_rows!(@ call.rows, Self::MR, tile, (call, acc), 2, 1 2 3 4 5 6),
            32 => match_rows!(@ call.rows, Self::MR, tile, (call, acc), 4, 1 2 3),
            columns => debug_assert!(false, "{columns} columns"),
        }
    }
}

/// `ROWS` rows times a panel of `VECTORS` vectors.
#[target_feature(enable = "avx2")]
unsafe fn tile<const ROWS: usize, const VECTORS: usize>(call: TileCall<i16, i16>, to: *mut i32) {
    let TileCall { a, lda, b, k, accumulate, prefetch, .. } = call;
    // SAFETY: there are `ROWS` rows of `k` values, as many columns of as many, and room for the
    // accumulators.
    unsafe {
        let place = |row: usize| to.add(row * 8 * VECTORS).cast::<__m256i>();
        let mut sums = [[_mm256_setzero_si256(); VECTORS]; ROWS];
        if accumulate {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (vector, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm256_loadu_si256(place(row).add(vector));
                }
            }
        }
        let mut b = b.cast::<__m256i>();
        for group in 0..k / 2 {
            prefetch.fetch_one(group);
            for (row, sums) in sums.iter_mut().enumerate() {
                let pair = a.add(row * lda).cast::<i32>().add(group).read_unaligned();
                let pair = _mm256_set1_epi32(pair);
                for (vector, sum) in sums.iter_mut().enumerate() {
                    let products = _mm256_madd_epi16(pair, _mm256_loadu_si256(b.add(vector)));
                    *sum = _mm256_add_epi32(*sum, products);
                }
            }
            b = b.add(VECTORS);
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (vector, sum) in sums.into_iter().enumerate() {
                _mm256_storeu_si256(place(row).add(vector), sum);
            }
        }
    }
}
