//! Weights of 8-bit integers, for activations that are quantized when they come.
//!
//! A row of activations becomes the integers nearest to `x / (scale smoothing) - offset`, where
//! scale and offset are the row's own, so that its least and greatest value use the whole range;
//! the offset is whole, and zero is exact. Weights are multiplied by the smoothing, which divides
//! dimensions of activations that are greater than others: SmoothQuant,
//! <https://arxiv.org/abs/2211.10438>, with a migration strength of one half. Sums are exact and
//! scaled in one order, so that the results have the same bits on every instruction set.

use super::epilogue::Dequantize;
use crate::element::{Element, Integer, Storage};
use crate::matrix::{AnyRows, Rows};
use crate::memory::{Line, OutOfMemory, filled, zeros, zeros_for_weights};
use crate::simd::{Simd, VectorOp};
use std::marker::PhantomData;

/// The greatest K: with more, sums might not fit into 32 bits.
pub(crate) const MAX_K: usize = 1 << 16;

/// The magnitude of the greatest weight.
const INT8_MAX: f32 = 127.;

/// Steps from the least to the greatest activation: rounding and the offset may add one at either
/// end.
const STEPS: f32 = 252.;

/// The least scale: its reciprocal is finite.
const MIN_SCALE: f32 = f32::MIN_POSITIVE;

/// The least maximum, as a share of the greatest: activations that calibration did not see are not
/// divided by next to nothing.
const MIN_MAXIMUM: f32 = 1e-3;

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
    /// For each column, the sum of its weights: what an offset of 1 adds to a result.
    sums: Vec<f32>,
    /// For each input, the reciprocal of its smoothing.
    reciprocals: Vec<f32>,
}

/// A block of quantized rows.
pub(super) struct Quantized<I> {
    lines: Vec<Line>,
    /// From one row to the next, in values.
    stride: usize,
    /// For each row.
    scales: Vec<f32>,
    /// For each row, times its scale.
    offsets: Vec<f32>,
    /// Which rows they are.
    held: Option<(usize, usize)>,
    integer: PhantomData<I>,
}

impl<I> Quantized<I> {
    /// The first row, and how far the next one is apart.
    pub(super) fn rows(&self) -> (*const I, usize) {
        (self.lines.as_ptr().cast(), self.stride)
    }
}

impl Int8Panels {
    /// Of rows `[N,K]`, for microkernels of such integers; with the greatest magnitudes of the
    /// inputs, if they are known.
    pub(super) fn new<I: Integer, W: Element>(
        nr: usize,
        inputs: usize,
        rows: &[&[W]],
        maxima: Option<&[f32]>,
    ) -> Result<Self, OutOfMemory> {
        let smoothing = smoothing(inputs, rows, maxima)?;
        let k = inputs.next_multiple_of(size_of::<Line>() / size_of::<I>());
        let columns = rows.len().next_multiple_of(nr);
        let mut lines = zeros_for_weights(columns * k * size_of::<I>())?;
        let (mut scales, mut compensation) = (filled(columns, 0.)?, filled(columns, 0)?);
        let mut to = lines.as_mut_ptr().cast::<I::Weight>();
        for (panel, rows) in rows.chunks(nr).enumerate() {
            let greatest: Vec<_> = rows.iter().map(|row| greatest(row, &smoothing)).collect();
            for first in (0..k).step_by(I::K_GROUP) {
                for (column, (row, greatest)) in rows.iter().zip(&greatest).enumerate() {
                    let index = panel * nr + column;
                    scales[index] = greatest / INT8_MAX;
                    let scale = if *greatest > 0. { INT8_MAX / greatest } else { 0. };
                    let values = row.iter().zip(&smoothing).skip(first).take(I::K_GROUP);
                    for (i, (value, smoothing)) in values.enumerate() {
                        let rounded = nearest(value.to_f32() * smoothing * scale);
                        compensation[index] += i32::from(rounded);
                        // SAFETY: a panel has `nr` columns of `k` values.
                        unsafe { *to.add(column * I::K_GROUP + i) = I::weight(rounded) };
                    }
                }
                // SAFETY: as above: to the next K group of the panel, or its end.
                to = unsafe { to.add(nr * I::K_GROUP) };
            }
        }
        let mut sums = filled(columns, 0.)?;
        for ((sum, weights), scale) in sums.iter_mut().zip(&mut compensation).zip(&scales) {
            *sum = *weights as f32 * scale;
            *weights *= I::ZERO_POINT;
        }
        let mut reciprocals = smoothing;
        reciprocals.iter_mut().for_each(|value| *value = 1. / *value);
        Ok(Self { inputs, k, lines, scales, compensation, sums, reciprocals })
    }

    pub(super) fn bytes(&self) -> usize {
        let columns = [&self.scales, &self.sums, &self.reciprocals].map(|v| size_of_val(&v[..]));
        size_of_val(self.lines.as_slice())
            + size_of_val(self.compensation.as_slice())
            + columns.iter().sum::<usize>()
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
    pub(super) fn start<B>(&self) -> *const B {
        self.lines.as_ptr().cast()
    }

    /// Memory for so many rows: an odd number of cache lines apart, as rows of a matrix are.
    pub(super) fn quantized<I: Integer>(&self, rows: usize) -> Result<Quantized<I>, OutOfMemory> {
        let bytes = ((self.k * size_of::<I>() / size_of::<Line>()) | 1) * size_of::<Line>();
        Ok(Quantized {
            lines: zeros(rows * bytes)?,
            stride: bytes / size_of::<I>(),
            scales: filled(rows, 0.)?,
            offsets: filled(rows, 0.)?,
            held: None,
            integer: PhantomData,
        })
    }

    /// Makes float32 of accumulators whose first row is `first`.
    pub(super) fn dequantize<'a, I>(
        &'a self,
        quantized: &'a Quantized<I>,
        first: usize,
    ) -> Scales<'a> {
        let Quantized { scales, offsets, .. } = quantized;
        Scales { panels: self, scales, offsets, first }
    }
}

/// What inputs are divided by and weights multiplied by: `sqrt(max |x| / max |w|)`.
fn smoothing<W: Element>(
    inputs: usize,
    rows: &[&[W]],
    maxima: Option<&[f32]>,
) -> Result<Vec<f32>, OutOfMemory> {
    let mut smoothing = filled(inputs, 1.)?;
    let Some(maxima) = maxima else { return Ok(smoothing) };
    let mut weights = filled(inputs, 0_f32)?;
    for row in rows {
        for (most, value) in weights.iter_mut().zip(*row) {
            *most = most.max(value.to_f32().abs());
        }
    }
    let greatest = |values: &[f32]| values.iter().copied().fold(0., f32::max);
    let (of_inputs, of_weights) = (greatest(maxima), greatest(&weights));
    let usable = |value: f32| value * MIN_MAXIMUM > f32::MIN_POSITIVE && value.is_finite();
    if usable(of_inputs) && usable(of_weights) {
        for ((smoothing, x), w) in smoothing.iter_mut().zip(maxima).zip(&weights) {
            let (x, w) = (x.max(of_inputs * MIN_MAXIMUM), w.max(of_weights * MIN_MAXIMUM));
            *smoothing = (x / w).sqrt();
        }
    }
    Ok(smoothing)
}

/// The greatest magnitude; NaN if a value is not finite, which no integer represents.
fn greatest<W: Element>(row: &[W], smoothing: &[f32]) -> f32 {
    let values = || row.iter().zip(smoothing).map(|(value, smoothing)| value.to_f32() * smoothing);
    let finite = values().all(f32::is_finite);
    let greatest = values().fold(0_f32, |most, value| most.max(value.abs()));
    if finite { greatest } else { f32::NAN }
}

/// The nearest integer, of magnitudes up to 127; of two equally near ones the even.
fn nearest(value: f32) -> i8 {
    round(value) as i8
}

/// The nearest whole number, of magnitudes up to 2^22.
#[inline(always)]
fn round(value: f32) -> f32 {
    // What `round_ties_even` does, without a call where there is no instruction.
    const ROUND: f32 = 12_582_912.; // 1.5 * 2^23
    (value + ROUND) - ROUND
}

/// Quantizes a block of rows, if those are not held. What a row becomes depends on that row alone.
pub(super) struct Quantize<'a, I> {
    pub(super) panels: &'a Int8Panels,
    pub(super) x: AnyRows<'a>,
    pub(super) rows: (usize, usize),
    pub(super) to: &'a mut Quantized<I>,
}

impl<S: Simd, I: Integer> VectorOp<S> for Quantize<'_, I> {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let Self { panels, x, rows, to } = self;
        if to.held.replace(rows) == Some(rows) {
            return;
        }
        match x {
            AnyRows::F32(x) => quantize_rows(s, x, &panels.reciprocals, rows, to),
            AnyRows::Bf16(x) => quantize_rows(s, x, &panels.reciprocals, rows, to),
        }
    }
}

#[inline(always)]
fn quantize_rows<S: Simd, E: Element, I: Integer>(
    s: S,
    x: Rows<'_, E>,
    reciprocals: &[f32],
    rows: (usize, usize),
    to: &mut Quantized<I>,
) {
    for row in rows.0..rows.1 {
        let index = row - rows.0;
        let values = to.lines.as_mut_ptr().cast::<I>().wrapping_add(index * to.stride);
        // SAFETY: x has such rows of as many inputs, and there is memory for as many rows.
        (to.scales[index], to.offsets[index]) =
            unsafe { quantize(s, x.at(row, 0), reciprocals, values) };
    }
}

/// Quantizes a row, and returns its scale, and its offset times that: NaN if a value is not finite.
#[inline(always)]
unsafe fn quantize<S: Simd, E: Element, I: Integer>(
    s: S,
    from: *const E,
    reciprocals: &[f32],
    to: *mut I,
) -> (f32, f32) {
    let count = reciprocals.len();
    let part = |column: usize| S::LANES.min(count - column);
    let (mut min, mut max, mut zeros) = (s.zero(), s.zero(), s.zero());
    for column in (0..count).step_by(S::LANES) {
        // SAFETY: there are `count` values of both.
        let value = unsafe { smooth(s, from, reciprocals, column, part(column)) };
        min = s.min(min, value);
        max = s.max(max, value);
        // A maximum may overlook a NaN; a difference does not.
        zeros = s.add(zeros, s.sub(value, value));
    }
    let (min, max) = (-s.reduce_max(s.sub(s.zero(), min)), s.reduce_max(max));
    // Of the greatest and the least float32, the difference is none.
    let scale = max / STEPS - min / STEPS;
    // Of a row of zeros, or of values so small that there is no reciprocal: they become zeros.
    let reciprocal = if scale >= MIN_SCALE { 1. / scale } else { 0. };
    let offset = round((max + min) / 2. * reciprocal);
    for column in (0..count).step_by(S::LANES) {
        // SAFETY: as above, and there is room for as many.
        unsafe {
            let value = smooth(s, from, reciprocals, column, part(column));
            let whole = s.round(s.mul(value, s.splat(reciprocal)));
            let zero_point = s.splat(I::ZERO_POINT as f32 - offset);
            I::store(s, to.add(column), part(column), s.add(whole, zero_point));
        }
    }
    (scale + s.reduce_sum(zeros), offset * scale)
}

/// Values times the reciprocals of their smoothing.
#[inline(always)]
unsafe fn smooth<S: Simd, E: Element>(
    s: S,
    from: *const E,
    reciprocals: &[f32],
    column: usize,
    count: usize,
) -> S::V {
    // SAFETY: the caller has as many values of both.
    unsafe {
        let reciprocals = f32::load(s, reciprocals.as_ptr().add(column), count);
        s.mul(E::load(s, from.add(column), count), reciprocals)
    }
}

/// Dequantization of accumulators.
#[derive(Clone, Copy)]
pub(super) struct Scales<'a> {
    panels: &'a Int8Panels,
    scales: &'a [f32],
    offsets: &'a [f32],
    first: usize,
}

impl Dequantize for Scales<'_> {
    #[inline(always)]
    unsafe fn read<S: Simd>(self, s: S, acc: *const f32, row: usize, column: usize) -> S::V {
        let Int8Panels { scales, compensation, sums, .. } = self.panels;
        let row = row - self.first;
        // SAFETY: what is of columns is padded to whole panels; the row is of the block.
        unsafe {
            let sum = s.sub_i32(acc.cast(), compensation.as_ptr().add(column));
            let scale = s.splat(*self.scales.as_ptr().add(row));
            let offset = s.splat(*self.offsets.as_ptr().add(row));
            let scale = s.mul(s.load(scales.as_ptr().add(column)), scale);
            // Not fused, which some instruction sets cannot.
            s.add(s.mul(sum, scale), s.mul(s.load(sums.as_ptr().add(column)), offset))
        }
    }
}
