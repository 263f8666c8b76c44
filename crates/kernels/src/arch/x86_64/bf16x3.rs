//! float32 in AMX tiles of bfloat16, which multiply sixteen times as fast as AVX-512 does float32.
//!
//! BF16x3: a float32 value is the sum of three bfloat16 values, exactly: of the upper, the middle and
//! the lower eight bits of its significand. Of the nine products of two values' parts the six
//! greatest are added up, in float32; the three dropped products are of the order of one ulp.
//!
//! Source: G. Henry, P. T. P. Tang, A. Heinecke, "Leveraging the bfloat16
//! Artificial Intelligence Datatype For Higher-Precision Computations", ARITH 2019.

use super::Avx512;
use super::amx::{Bf16Pairs, Hardware, MR, ROW_BYTES, Tiles};
use crate::bf16::Bf16;
use crate::memory::{Line, OutOfMemory, with_capacity};
use crate::microkernel::{MAX_NR, Microkernel, Prefetch, TileCall};
use std::arch::x86_64::*;

/// Parts of a value.
const PARTS: usize = 3;

/// K values whose parts, of a panel and of a tile of rows, stay in L1d.
const KC: usize = 128;

/// Cache lines that are prefetched in a step, at the most: they occupy line-fill buffers that loads
/// wait for.
const MAX_PREFETCH: usize = 8;

/// Values that a row of a tile holds.
const LINE: usize = ROW_BYTES / size_of::<Bf16>();

/// The f32 microkernel of tiles.
pub(crate) struct Bf16x3 {
    tiles: Tiles<Hardware>,
    /// The block of a panel that is split.
    split_b: *const f32,
}

/// Memory for the parts of a block of rows, and of a block of a panel.
pub(crate) struct Workspace {
    a: Vec<Line>,
    /// The rows whose parts `a` holds.
    rows: Option<(usize, usize)>,
    b: Vec<Line>,
}

/// From the parts of one row to those of the next, in values: an odd number of cache lines, as rows
/// of a matrix are apart.
fn stride(k: usize) -> usize {
    ((PARTS * k.div_ceil(LINE)) | 1) * LINE
}

impl Microkernel for Bf16x3 {
    type Simd = Avx512;
    type Input = f32;
    type A = Bf16;
    type B = f32;
    type Workspace = Workspace;

    const MR: usize = MR;
    const K_STEP: usize = LINE;
    const K_ALIGN: usize = LINE;
    const KC_BYTES: usize = KC * MAX_NR * size_of::<f32>();
    const A_PER_K: usize = PARTS;
    const OVERLAPS_EPILOGUE: bool = true;

    fn workspace(rows: usize, k: usize) -> Result<Workspace, OutOfMemory> {
        // Written before it is read.
        let memory = |values: usize| with_capacity((values * size_of::<Bf16>()).div_ceil(64));
        let (a, b) = (memory(rows * stride(k))?, memory(PARTS * KC * MAX_NR)?);
        Ok(Workspace { a, rows: None, b })
    }

    #[inline(always)]
    unsafe fn new(_: Avx512, rows: usize) -> Self {
        // SAFETY: the CPU has tiles, by the caller's promise.
        Self { tiles: unsafe { Tiles::new(Hardware, rows) }, split_b: std::ptr::null() }
    }

    #[inline(always)]
    unsafe fn pack_a(
        workspace: &mut Workspace,
        (x, lda): (*const f32, usize),
        rows: (usize, usize),
        k: usize,
    ) -> (*const Bf16, usize) {
        let stride = stride(k);
        let start: *mut u16 = workspace.a.as_mut_ptr().cast();
        if workspace.rows.replace(rows) != Some(rows) {
            for row in rows.0..rows.1 {
                let to = start.wrapping_add((row - rows.0) * stride);
                // SAFETY: there are such rows, and memory for their parts.
                unsafe { split_row(x.add(row * lda), k, to) };
            }
        }
        (start.cast_const().cast(), stride)
    }

    #[inline(always)]
    unsafe fn run(
        &mut self,
        workspace: &mut Workspace,
        call: TileCall<Bf16, f32>,
        acc: *mut f32,
        mut overlap: impl FnMut(),
    ) {
        let TileCall { rows, a, lda, b, k, accumulate, ldc, prefetch } = call;
        // SAFETY: there are such a block of a panel, not longer than `KC`, and rows that
        // `pack_a` split.
        unsafe {
            if self.split_b != b {
                split_panel(b, k, workspace.b.as_mut_ptr().cast());
                self.split_b = b;
            }
            let call = TileCall {
                rows,
                a,
                lda,
                b: workspace.b.as_ptr().cast::<Bf16>(),
                k: k.next_multiple_of(LINE),
                accumulate,
                ldc,
                prefetch: Prefetch { lines: prefetch.lines.min(MAX_PREFETCH), ..prefetch },
            };
            self.tiles.begin(accumulate, acc, ldc);
            self.tiles.add_split::<Bf16Pairs>(call, &mut overlap);
            self.tiles.end(acc, ldc);
        }
    }
}

/// The parts of values, as float32 whose lower halves are zeros.
#[inline]
#[target_feature(enable = "avx512f")]
fn split(value: __m512) -> [__m512i; PARTS] {
    let upper = |value| {
        _mm512_castsi512_ps(_mm512_and_si512(
            _mm512_castps_si512(value),
            _mm512_set1_epi32(0xffff_0000_u32 as i32),
        ))
    };
    let first = upper(value);
    let rest = _mm512_sub_ps(value, first);
    let second = upper(rest);
    [first, second, _mm512_sub_ps(rest, second)].map(|part| _mm512_castps_si512(part))
}

/// Splits a row: for each line of values, those of each part. The last is filled
/// up with zeros.
#[target_feature(enable = "avx512f")]
unsafe fn split_row(from: *const f32, count: usize, to: *mut u16) {
    for place in (0..count.next_multiple_of(LINE)).step_by(16) {
        let left = count.saturating_sub(place).min(16);
        // SAFETY: `left` values are there, and room for whole lines.
        unsafe {
            let value = _mm512_maskz_loadu_ps(((1_u32 << left) - 1) as u16, from.add(place));
            let to = to.add(PARTS * (place / LINE * LINE) + place % LINE);
            for (part, value) in split(value).into_iter().enumerate() {
                let halves = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(value));
                _mm256_storeu_si256(to.add(part * LINE).cast(), halves);
            }
        }
    }
}

/// Splits `depth` rows of a panel: for each line's worth of them, pairs of each
/// column's, of each part. They are filled up with zeros to whole lines.
#[target_feature(enable = "avx512f")]
unsafe fn split_panel(from: *const f32, depth: usize, to: *mut u32) {
    for place in (0..depth.next_multiple_of(LINE)).step_by(2) {
        for half in [0, 16] {
            let of = |place: usize| match place < depth {
                // SAFETY: such a row is there.
                true => split(unsafe { _mm512_loadu_ps(from.add(place * MAX_NR + half)) }),
                false => [_mm512_setzero_si512(); PARTS],
            };
            let (first, second) = (of(place), of(place + 1));
            for (part, (first, second)) in first.into_iter().zip(second).enumerate() {
                let pairs = _mm512_or_si512(_mm512_srli_epi32::<16>(first), second);
                let line = PARTS * (place / LINE) + part;
                // SAFETY: there is room for a slice of each part.
                unsafe {
                    let to = to.add((line * LINE + place % LINE) * MAX_NR / 2 + half);
                    _mm512_storeu_si512(to.cast(), pairs);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum of a value's parts.
    fn sum(parts: [u16; PARTS]) -> f32 {
        parts.into_iter().map(|part| f64::from(Bf16(part).to_f32())).sum::<f64>() as f32
    }

    #[test]
    fn parts_add_up_to_the_value_wherever_tiles_look_for_them() {
        if !is_x86_feature_detected!("avx512f") {
            return;
        }
        let value = |at: usize| ((at * 7919 % 65_537) as f32 - 32_768.) * 1.234_567e-3;
        for count in [1, 31, 32, 33, 100, KC] {
            let lines = count.div_ceil(LINE);
            let row: Vec<f32> = (0..count).map(value).collect();
            let mut parts = vec![1_u16; PARTS * lines * LINE];
            let panel: Vec<f32> = (0..count * MAX_NR).map(value).collect();
            let mut pairs = vec![1_u32; PARTS * lines * LINE * MAX_NR / 2];
            // SAFETY: AVX-512; there are as many values and as much room.
            unsafe {
                split_row(row.as_ptr(), count, parts.as_mut_ptr());
                split_panel(panel.as_ptr(), count, pairs.as_mut_ptr());
            }
            for k in 0..lines * LINE {
                let line = |part| (PARTS * (k / LINE) + part) * LINE;
                let found = sum([0, 1, 2].map(|part| parts[line(part) + k % LINE]));
                assert_eq!(found, row.get(k).copied().unwrap_or(0.), "{k} of {count}");
                for column in 0..MAX_NR {
                    let pair = |part| pairs[(line(part) + k % LINE / 2 * 2) * MAX_NR / 2 + column];
                    let found = sum([0, 1, 2].map(|part| (pair(part) >> (16 * (k % 2))) as u16));
                    let expected = panel.get(k * MAX_NR + column).copied().unwrap_or(0.);
                    assert_eq!(found, expected, "{k}, {column} of {count}");
                }
            }
        }
    }
}
