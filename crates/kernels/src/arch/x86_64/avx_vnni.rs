//! AVX-VNNI: dot products of 8-bit integers on CPUs without AVX-512.

use super::Avx2;
use crate::arch::Arch;
use crate::microkernel::{
    L1_PANEL_BYTES, Microkernel, TileCall, VectorTile, match_rows, reads_rows,
};
use crate::simd::Simd;
use std::arch::x86_64::*;

pub(crate) enum AvxVnni {}

impl AvxVnni {
    /// Whether the CPU has them.
    pub(crate) fn is_available() -> bool {
        Avx2::new().is_some() && is_x86_feature_detected!("avxvnni")
    }
}

impl Arch for AvxVnni {
    type Simd = Avx2;
    type F32 = VectorTile<Avx2>;
    type Int8 = DotU8;
}

/// The int8 microkernel of `vpdpbusd`.
pub(crate) struct DotU8(());

impl Microkernel for DotU8 {
    type Simd = Avx2;
    type B = i8;
    reads_rows!(u8);

    const MR: usize = Avx2::MR;
    const K_STEP: usize = 4;
    const KC_BYTES: usize = L1_PANEL_BYTES;
    const OVERLAPS_EPILOGUE: bool = false;

    #[inline(always)]
    unsafe fn new(_: Avx2, _: usize) -> Self {
        Self(())
    }

    #[inline(always)]
    unsafe fn run(&mut self, (): &mut (), call: TileCall<u8, i8>, acc: *mut f32, _: impl FnMut()) {
        debug_assert_eq!(call.ldc, Self::NR);
        match_rows!(@ call.rows, Self::MR, tile, (call, acc.cast()), 1 2 3 4 5 6);
    }
}

/// A tile by an instruction of 256 bits: of AVX-VNNI, or, so that tests run where that is not, the
/// same one of AVX-512.
macro_rules! tile {
    ($name:ident, $features:literal, $dot:ident) => {
        #[target_feature(enable = $features)]
        unsafe fn $name<const ROWS: usize>(call: TileCall<u8, i8>, to: *mut i32) {
            let TileCall { a, lda, b, k, accumulate, prefetch, .. } = call;
            // SAFETY: there are `ROWS` rows of `k` values, 16 columns of as many, and room for
            // the accumulators.
            unsafe {
                let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
                if accumulate {
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let to = to.add(row * 16).cast::<__m256i>();
                        *sums = [_mm256_loadu_si256(to), _mm256_loadu_si256(to.add(1))];
                    }
                }
                let mut b = b.cast::<__m256i>();
                for group in 0..k / 4 {
                    prefetch.fetch_one(group);
                    let columns = [_mm256_loadu_si256(b), _mm256_loadu_si256(b.add(1))];
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let four = a.add(row * lda).cast::<i32>().add(group).read_unaligned();
                        let four = _mm256_set1_epi32(four);
                        sums[0] = $dot(sums[0], four, columns[0]);
                        sums[1] = $dot(sums[1], four, columns[1]);
                    }
                    b = b.add(2);
                }
                for (row, sums) in sums.into_iter().enumerate() {
                    _mm256_storeu_si256(to.add(row * 16).cast(), sums[0]);
                    _mm256_storeu_si256(to.add(row * 16 + 8).cast(), sums[1]);
                }
            }
        }
    };
}

tile!(tile, "avx2,avxvnni", _mm256_dpbusd_avx_epi32);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microkernel::Prefetch;

    tile!(tile_of_avx512, "avx2,avx512vl,avx512vnni", _mm256_dpbusd_epi32);

    #[test]
    fn a_tile_is_sums_of_products() {
        const K: usize = 12;
        let a: Vec<u8> = (0..6 * K).map(|i| (i * 89 % 256) as u8).collect();
        let b: Vec<i8> = (0..16 * K).map(|i| (i * 57 % 255) as u8 as i8).collect();
        let expected = |row: usize, column: usize| {
            let place = |k: usize| (k / 4 * 16 + column) * 4 + k % 4;
            let products = (0..K).map(|k| i32::from(a[row * K + k]) * i32::from(b[place(k)]));
            7 + products.sum::<i32>()
        };
        let check = |run: unsafe fn(TileCall<u8, i8>, *mut i32)| {
            let mut acc = [7_i32; 6 * 16];
            let prefetch = Prefetch::nothing();
            let (a, b) = (a.as_ptr(), b.as_ptr());
            let call =
                TileCall { rows: 6, a, lda: K, b, k: K, accumulate: true, ldc: 16, prefetch };
            // SAFETY: the CPU has the instructions, and there are 6 rows, 16 columns, and room.
            unsafe { run(call, acc.as_mut_ptr()) };
            for (index, found) in acc.into_iter().enumerate() {
                assert_eq!(found, expected(index / 16, index % 16), "{index}");
            }
        };
        if AvxVnni::is_available() {
            check(tile::<6>);
        }
        if is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("avx512vnni") {
            check(tile_of_avx512::<6>);
        }
    }
}
