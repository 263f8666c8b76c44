//! The f32 microkernel over any vectors.

use super::{L1_PANEL_BYTES, Microkernel, TileCall, reads_rows};
use crate::simd::Simd;

pub(crate) struct VectorTile<S>(S);

impl<S: Simd> Microkernel for VectorTile<S> {
    type Simd = S;
    type B = f32;
    reads_rows!(f32);

    const MR: usize = S::MR;
    const K_STEP: usize = 1;
    const KC_BYTES: usize = L1_PANEL_BYTES;
    const OVERLAPS_EPILOGUE: bool = false;

    #[inline(always)]
    unsafe fn new(simd: S, _: usize) -> Self {
        Self(simd)
    }

    #[inline(always)]
    unsafe fn run(
        &mut self,
        (): &mut (),
        call: TileCall<f32, f32>,
        acc: *mut f32,
        _: impl FnMut(),
    ) {
        macro_rules! of_rows {
            ($($rows:literal)*) => {
                match call.rows {
                    // SAFETY: the caller's promise.
                    $($rows if $rows <= S::MR => unsafe { tile::<S, $rows>(self.0, call, acc) },)*
                    rows => debug_assert!(false, "{rows} rows"),
                }
            };
        }
        of_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    }

    #[inline(always)]
    unsafe fn run_half(&mut self, (): &mut (), call: TileCall<f32, f32>, acc: *mut f32) {
        macro_rules! of_rows {
            ($($rows:literal)*) => {
                match call.rows {
                    // SAFETY: the caller's promise.
                    $($rows if $rows <= S::MR => unsafe {
                        half_tile::<S, $rows>(self.0, call, acc)
                    },)*
                    rows => debug_assert!(false, "{rows} rows"),
                }
            };
        }
        of_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    }
}

/// See [`Microkernel::run`].
#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize>(s: S, call: TileCall<f32, f32>, to: *mut f32) {
    let TileCall { a, lda, mut b, k, accumulate, ldc, prefetch, .. } = call;
    // SAFETY: there are `ROWS` rows of `k` values, NR columns of as many, and room for the
    // accumulators.
    unsafe {
        let mut sums = [[s.zero(); 2]; ROWS];
        if accumulate {
            for (row, sums) in sums.iter_mut().enumerate() {
                let to = to.add(row * ldc);
                *sums = [s.load(to), s.load(to.add(S::LANES))];
            }
        }
        for k in 0..k {
            prefetch.fetch_one(k);
            let columns = [s.load(b), s.load(b.add(S::LANES))];
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = s.splat(*a.add(row * lda + k));
                sums[0] = s.fma(value, columns[0], sums[0]);
                sums[1] = s.fma(value, columns[1], sums[1]);
            }
            b = b.add(2 * S::LANES);
        }
        for (row, sums) in sums.into_iter().enumerate() {
            s.store(to.add(row * ldc), sums[0]);
            s.store(to.add(row * ldc + S::LANES), sums[1]);
        }
    }
}

/// See [`Microkernel::run_half`]. Not [`tile`] with a number of vectors: compilers then keep the
/// columns in memory.
#[inline(always)]
unsafe fn half_tile<S: Simd, const ROWS: usize>(s: S, call: TileCall<f32, f32>, to: *mut f32) {
    let TileCall { a, lda, mut b, k, ldc, .. } = call;
    // SAFETY: as in `tile`, of the first half of the columns.
    unsafe {
        let mut sums = [s.zero(); ROWS];
        for k in 0..k {
            let column = s.load(b);
            for (row, sum) in sums.iter_mut().enumerate() {
                *sum = s.fma(s.splat(*a.add(row * lda + k)), column, *sum);
            }
            b = b.add(2 * S::LANES);
        }
        for (row, sum) in sums.into_iter().enumerate() {
            s.store(to.add(row * ldc), sum);
        }
    }
}
