//! Weights of 8-bit integers, for activations that are quantized when they come.
//!
//! Instructions multiply unsigned with signed values: activations, from -127 to 127, get the zero
//! point 128, and its product with a column's sum, the compensation, is subtracted.

use super::epilogue::Dequantize;
use crate::element::Element;
use crate::matrix::{AnyRows, Rows};
use crate::memory::{Line, OutOfMemory, filled, zeros, zeros_for_weights};
use crate::simd::{Simd, VectorOp};

/// The greatest K: with more, sums might not fit into 32 bits.
pub(crate) const MAX_K: usize = 1 << 16;

/// The magnitude of the greatest value.
const INT8_MAX: f32 = 127.;

/// Of activations.
const ZERO_POINT: i32 = 128;

/// Values of one column that a dot product takes together.
const K_GROUP: usize = 4;

/// B: one panel of NR columns after another.
#[derive(Debug)]
pub(crate) struct Int8Panels {
    inputs: usize,
    /// K: the inputs, padded with zeros to whole cache lines, which are rows of AMX tiles.
    k: usize,
    lines: Vec<Line>,
    /// For each column.
    scales: Vec<f32>,
    /// For each column, what the zero point adds to its sum.
    compensation: Vec<i32>,
}

/// A block of quantized rows.
pub(super) struct Quantized {
    lines: Vec<Line>,
    stride: usize,
    /// For each row.
    scales: Vec<f32>,
    /// Which rows they are.
    held: Option<(usize, usize)>,
}

impl Quantized {
    /// The first row, and how far the next one is apart.
    pub(super) fn rows(&self) -> (*const u8, usize) {
        (self.lines.as_ptr().cast(), self.stride)
    }
}

impl Int8Panels {
    pub(super) fn new<W: Element>(
        nr: usize,
        inputs: usize,
        rows: &[&[W]],
    ) -> Result<Self, OutOfMemory> {
        let k = inputs.next_multiple_of(size_of::<Line>());
        let columns = rows.len().next_multiple_of(nr);
        let mut lines = zeros_for_weights(columns * k)?;
        let (mut scales, mut compensation) = (filled(columns, 0.)?, filled(columns, 0)?);
        let mut to = lines.as_mut_ptr().cast::<i8>();
        for (panel, rows) in rows.chunks(nr).enumerate() {
            let greatest: Vec<_> = rows.iter().map(|row| greatest(row)).collect();
            for first in (0..k).step_by(K_GROUP) {
                for (column, (row, greatest)) in rows.iter().zip(&greatest).enumerate() {
                    let index = panel * nr + column;
                    scales[index] = greatest / INT8_MAX;
                    let scale = if *greatest > 0. { INT8_MAX / greatest } else { 0. };
                    for (i, value) in row.iter().skip(first).take(K_GROUP).enumerate() {
                        let rounded = nearest(value.to_f32() * scale);
                        compensation[index] += ZERO_POINT * i32::from(rounded);
                        // SAFETY: a panel has `nr` columns of `k` values.
                        unsafe { *to.add(column * K_GROUP + i) = rounded };
                    }
                }
                // SAFETY: as above: to the next K group of the panel, or its end.
                to = unsafe { to.add(nr * K_GROUP) };
            }
        }
        Ok(Self { inputs, k, lines, scales, compensation })
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.lines.as_slice())
            + size_of_val(self.scales.as_slice())
            + size_of_val(self.compensation.as_slice())
    }

    /// K of the inputs.
    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    /// K, padded to whole cache lines.
    pub(super) fn k(&self) -> usize {
        self.k
    }

    /// Where the first panel begins.
    pub(super) fn start(&self) -> *const i8 {
        self.lines.as_ptr().cast()
    }

    /// Memory for so many rows: an odd number of cache lines apart, as rows of a matrix are.
    pub(super) fn quantized(&self, rows: usize) -> Result<Quantized, OutOfMemory> {
        let stride = ((self.k / size_of::<Line>()) | 1) * size_of::<Line>();
        Ok(Quantized {
            lines: zeros(rows * stride)?,
            stride,
            scales: filled(rows, 0.)?,
            held: None,
        })
    }

    /// Makes float32 of accumulators whose first row is `first`.
    pub(super) fn dequantize<'a>(&'a self, quantized: &'a Quantized, first: usize) -> Scales<'a> {
        let Self { scales: columns, compensation, .. } = self;
        Scales { columns, compensation, rows: &quantized.scales, first }
    }
}

/// The greatest magnitude; NaN if a value is not finite, which no integer represents.
fn greatest<W: Element>(row: &[W]) -> f32 {
    let finite = row.iter().all(|value| value.to_f32().is_finite());
    let greatest = row.iter().fold(0_f32, |most, value| most.max(value.to_f32().abs()));
    if finite { greatest } else { f32::NAN }
}

/// The nearest integer, of magnitudes up to 127; of two equally near ones the even.
fn nearest(value: f32) -> i8 {
    // What `round_ties_even` does, without a call where there is no instruction.
    const ROUND: f32 = 12_582_912.; // 1.5 * 2^23
    ((value + ROUND) - ROUND) as i8
}

/// Quantizes a block of rows, if those are not held. The scale of a row comes from that row alone.
pub(super) struct Quantize<'a> {
    pub(super) panels: &'a Int8Panels,
    pub(super) x: AnyRows<'a>,
    pub(super) rows: (usize, usize),
    pub(super) to: &'a mut Quantized,
}

impl<S: Simd> VectorOp<S> for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let Self { panels, x, rows, to } = self;
        if to.held.replace(rows) == Some(rows) {
            return;
        }
        match x {
            AnyRows::F32(x) => quantize_rows(s, x, panels.inputs, rows, to),
            AnyRows::Bf16(x) => quantize_rows(s, x, panels.inputs, rows, to),
        }
    }
}

#[inline(always)]
fn quantize_rows<S: Simd, E: Element>(
    s: S,
    x: Rows<'_, E>,
    inputs: usize,
    rows: (usize, usize),
    to: &mut Quantized,
) {
    for (row, scale) in (rows.0..rows.1).zip(&mut to.scales) {
        let values = to.lines.as_mut_ptr().cast::<u8>();
        // SAFETY: x has such rows of as many inputs, and there is memory for as many rows.
        *scale =
            unsafe { quantize(s, x.at(row, 0), inputs, values.add((row - rows.0) * to.stride)) };
    }
}

/// Quantizes a row, and returns its scale: NaN if a value is not finite.
#[inline(always)]
unsafe fn quantize<S: Simd, E: Element>(s: S, from: *const E, count: usize, to: *mut u8) -> f32 {
    let part = |column: usize| S::LANES.min(count - column);
    // SAFETY: there are `count` values, and room for as many.
    unsafe {
        let (mut greatest, mut zeros) = (s.zero(), s.zero());
        for column in (0..count).step_by(S::LANES) {
            let value = E::load(s, from.add(column), part(column));
            greatest = s.max(greatest, s.abs(value));
            // A maximum may overlook a NaN; a difference does not.
            zeros = s.add(zeros, s.sub(value, value));
        }
        let greatest = s.reduce_max(greatest);
        let scale = s.splat(if greatest > 0. { INT8_MAX / greatest } else { 0. });
        let zero_point = s.splat(ZERO_POINT as f32);
        for column in (0..count).step_by(S::LANES) {
            let value = s.mul(E::load(s, from.add(column), part(column)), scale);
            s.store_u8(to.add(column), part(column), s.add(s.round(value), zero_point));
        }
        greatest / INT8_MAX + s.reduce_sum(zeros)
    }
}

/// Dequantization of accumulators.
#[derive(Clone, Copy)]
pub(super) struct Scales<'a> {
    columns: &'a [f32],
    compensation: &'a [i32],
    rows: &'a [f32],
    first: usize,
}

impl Dequantize for Scales<'_> {
    #[inline(always)]
    unsafe fn read<S: Simd>(self, s: S, acc: *const f32, row: usize, column: usize) -> S::V {
        // SAFETY: scales and compensation are padded to whole panels; the row is of the block.
        unsafe {
            let sum = s.sub_i32(acc.cast(), self.compensation.as_ptr().add(column));
            let own = s.splat(*self.rows.as_ptr().add(row - self.first));
            s.mul(sum, s.mul(s.load(self.columns.as_ptr().add(column)), own))
        }
    }
}
