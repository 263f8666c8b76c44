//! Products of float32 in tiles of bfloat16, which multiply sixteen times as fast.
//!
//! A float32 value is the sum of three bfloat16 values, exactly: of the upper,
//! the middle and the lower eight bits of its significand. Of the nine products
//! of two values' parts the six greatest are added up, in float32; what the
//! others would add is about a rounding of the product.
//!
//! Source: G. Henry, P. T. P. Tang, A. Heinecke, "Leveraging the bfloat16
//! Artificial Intelligence Datatype For Higher-Precision Computations", ARITH 2019.

use super::order::{Multiply, Step};
use super::panels::Plain;
use crate::Bf16;
use crate::amx::{self, Bf16Pairs, Hardware, Tiles};
use crate::matrix::Line;
use crate::memory::{OutOfMemory, with_capacity};
use crate::tile::{MAX_NR, Next, Product, height};
use std::arch::x86_64::*;

/// Parts of a value.
const PARTS: usize = 3;

/// Inputs whose parts, of a panel and of a tile of rows, stay in the first cache.
const SLICE: usize = 128;

/// Cache lines that are asked for in a step, at the most: more of them hold up what
/// is at hand.
const AHEAD: usize = 8;

/// Values that a row of a tile holds.
const LINE: usize = amx::ROW_BYTES / size_of::<Bf16>();

/// Bytes of a value's parts.
pub(super) const BYTES: usize = PARTS * size_of::<Bf16>();

/// Memory for the parts of a block of rows, and of a slice of a panel.
#[derive(Default)]
pub(super) struct Scratch {
    rows: Vec<Line>,
    /// Which they are.
    split: Option<(usize, usize)>,
    panel: Vec<Line>,
}

impl Scratch {
    pub(super) fn new(rows: usize, inputs: usize) -> Result<Self, OutOfMemory> {
        // Written before it is read.
        let memory = |values: usize| with_capacity((values * size_of::<Bf16>()).div_ceil(64));
        Ok(Self {
            rows: memory(rows * stride(inputs))?,
            split: None,
            panel: memory(PARTS * SLICE * MAX_NR)?,
        })
    }
}

/// From the parts of one row to those of the next: an odd number of cache lines,
/// as of a matrix.
fn stride(inputs: usize) -> usize {
    ((PARTS * inputs.div_ceil(LINE)) | 1) * LINE
}

/// Rows of float32 inputs, split, and the panels they meet.
pub(super) struct InTiles<'a> {
    rows: (usize, usize),
    panels: *const f32,
    depth: usize,
    scratch: &'a mut Scratch,
    /// The panel, and where in it the slice begins, that is split.
    at_hand: Option<(usize, usize)>,
    tiles: Tiles<Hardware>,
}

impl<'a> InTiles<'a> {
    /// # Safety
    /// There are tiles, such rows `stride` values apart, each with `depth` inputs,
    /// and panels of as many; the scratch memory is for as many rows, always of these
    /// inputs.
    pub(super) unsafe fn new(
        (x, x_stride): (*const f32, usize),
        rows: (usize, usize),
        (panels, depth): (*const f32, usize),
        scratch: &'a mut Scratch,
    ) -> Self {
        let count = rows.1 - rows.0;
        if scratch.split.replace(rows) != Some(rows) {
            let to: *mut u16 = scratch.rows.as_mut_ptr().cast();
            for row in 0..count {
                let from = x.wrapping_add((rows.0 + row) * x_stride);
                // SAFETY: the caller's promise.
                unsafe { split_row(from, depth, to.wrapping_add(row * stride(depth))) };
            }
        }
        // SAFETY: there are tiles.
        let tiles = unsafe { Tiles::new(Hardware, height(count, amx::ROWS)) };
        Self { rows, panels, depth, scratch, at_hand: None, tiles }
    }
}

impl Multiply for InTiles<'_> {
    const MR: usize = amx::ROWS;
    const TILES: bool = true;
    const SLICE: usize = SLICE * MAX_NR * size_of::<f32>();
    const WHOLE: usize = LINE;
    type Value = f32;
    type Read = Plain;

    fn panels(&self) -> (*const u8, usize) {
        (self.panels.cast(), self.depth)
    }

    fn steps(depth: usize) -> usize {
        depth.div_ceil(LINE)
    }

    fn read(&self) -> Plain {
        Plain
    }

    #[inline(always)]
    unsafe fn multiply(&mut self, step: Step, sums: *mut f32, mut meanwhile: impl FnMut()) {
        let Step { rows, panel, depth: (from, to), next } = step;
        let depth = to - from;
        // SAFETY: the caller's promise.
        unsafe {
            if self.at_hand != Some((panel, from)) {
                let start = self.panels.add((panel * self.depth + from) * MAX_NR);
                split_panel(start, depth, self.scratch.panel.as_mut_ptr().cast());
                self.at_hand = Some((panel, from));
            }
            let stride = stride(self.depth);
            let left = self.scratch.rows.as_ptr().cast::<Bf16>();
            let product = Product {
                left: left.add((rows.0 - self.rows.0) * stride + PARTS * from),
                stride,
                panel: self.scratch.panel.as_ptr().cast(),
                depth: depth.next_multiple_of(LINE),
                onto: from > 0,
                next: Next { lines: next.lines.min(AHEAD), ..next },
            };
            self.tiles.begin(product.onto, sums, MAX_NR);
            self.tiles.add_split::<Bf16Pairs, _>(product, &mut meanwhile);
            self.tiles.end(sums, MAX_NR);
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
    use crate::Element;

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
        for count in [1, 31, 32, 33, 100, SLICE] {
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
