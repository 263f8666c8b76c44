//! Weights of 8-bit integers, for inputs that are rounded to such when they come.
//!
//! Instructions multiply unsigned with signed values: to an input, from -127 to
//! 127, 128 is added, and what that adds to a column's sum is subtracted.

use super::order::{FIRST_CACHE, Multiply, Read, Step};
#[cfg(target_arch = "x86_64")]
use crate::amx;
use crate::element::Element;
use crate::isa::Isa;
use crate::matrix::{Line, Rows, zeros_for_weights};
use crate::memory::{OutOfMemory, filled, zeros};
use crate::simd::Simd;
use crate::tile::{MAX_NR, Product, height, int8_tile, width};
use std::marker::PhantomData;

/// The magnitude of the greatest value.
const INT8_MAX: f32 = 127.;

/// What is added to an input.
const SHIFT: i32 = 128;

/// Values of one column that a product takes together.
const TOGETHER: usize = 4;

/// A weight, a panel of columns after another: for each four inputs, theirs of
/// each column.
#[derive(Debug)]
pub(super) struct Int8Panels {
    inputs: usize,
    /// The inputs, filled up with zeros to whole cache lines, which are rows of
    /// tiles of AMX.
    depth: usize,
    lines: Vec<Line>,
    /// For each column, what 1 stands for.
    scales: Vec<f32>,
    /// For each column, what shifted inputs add to its sum.
    shifts: Vec<i32>,
}

/// Rows of inputs, rounded; memory for a block of them.
#[derive(Default)]
pub(super) struct Scratch {
    lines: Vec<Line>,
    /// For each row, what 1 stands for.
    scales: Vec<f32>,
    /// Which rows they are.
    rounded: Option<(usize, usize)>,
}

impl Int8Panels {
    pub(super) fn new<W: Element>(
        width: usize,
        inputs: usize,
        rows: &[&[W]],
    ) -> Result<Self, OutOfMemory> {
        let depth = inputs.next_multiple_of(size_of::<Line>());
        let columns = rows.len().next_multiple_of(width);
        let mut lines = zeros_for_weights(columns * depth)?;
        let (mut scales, mut shifts) = (filled(columns, 0.)?, filled(columns, 0)?);
        let mut to = lines.as_mut_ptr().cast::<i8>();
        for (panel, rows) in rows.chunks(width).enumerate() {
            let greatest: Vec<_> = rows.iter().map(|row| greatest(row)).collect();
            for first in (0..depth).step_by(TOGETHER) {
                for (column, (row, greatest)) in rows.iter().zip(&greatest).enumerate() {
                    let number = panel * width + column;
                    scales[number] = greatest / INT8_MAX;
                    let scale = if *greatest > 0. { INT8_MAX / greatest } else { 0. };
                    for (i, value) in row.iter().skip(first).take(TOGETHER).enumerate() {
                        let rounded = nearest(value.to_f32() * scale);
                        shifts[number] += SHIFT * i32::from(rounded);
                        // SAFETY: a panel has `width` columns of `depth` values.
                        unsafe { *to.add(column * TOGETHER + i) = rounded };
                    }
                }
                // SAFETY: as above: to the next line of the panel, or its end.
                to = unsafe { to.add(width * TOGETHER) };
            }
        }
        Ok(Self { inputs, depth, lines, scales, shifts })
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.lines.as_slice())
            + size_of_val(self.scales.as_slice())
            + size_of_val(self.shifts.as_slice())
    }

    /// From one rounded row to the next: an odd number of cache lines, as of a
    /// matrix.
    fn stride(&self) -> usize {
        ((self.depth / size_of::<Line>()) | 1) * size_of::<Line>()
    }

    /// Memory for so many rows.
    pub(super) fn scratch(&self, rows: usize) -> Result<Scratch, OutOfMemory> {
        let lines = zeros(rows * self.stride())?;
        Ok(Scratch { lines, scales: filled(rows, 0.)?, rounded: None })
    }

    /// Rounds the rows, to be multiplied.
    ///
    /// # Safety
    /// There are such rows; the scratch memory is for as many, always of these inputs.
    #[inline(always)]
    pub(super) unsafe fn round<'a, S: Simd, E: Element>(
        &'a self,
        x: Rows<'a, E>,
        rows: (usize, usize),
        scratch: &'a mut Scratch,
    ) -> Rounded<'a> {
        let stride = self.stride();
        let fresh = scratch.rounded.replace(rows) != Some(rows);
        for row in if fresh { rows.0..rows.1 } else { 0..0 } {
            // SAFETY: the caller's promise.
            unsafe {
                let from = x.start.add(row * x.stride);
                let number = row - rows.0;
                let to = scratch.lines.as_mut_ptr().cast::<u8>().add(number * stride);
                scratch.scales[number] = round::<S, E>(from, self.inputs, to);
            }
        }
        Rounded { panels: self, rows, scratch }
    }
}

/// The greatest magnitude; NaN if a value is not finite, which no integer stands for.
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

/// Rounds a row, and returns what 1 stands for: NaN if a value is not finite.
#[inline(always)]
unsafe fn round<S: Simd, E: Element>(from: *const E, count: usize, to: *mut u8) -> f32 {
    let part = |place: usize| S::LANES.min(count - place);
    // SAFETY: as many values as there are.
    unsafe {
        let (mut greatest, mut zeros) = (S::zero(), S::zero());
        for place in (0..count).step_by(S::LANES) {
            let value = E::load::<S>(from.add(place), part(place));
            greatest = S::max(greatest, S::abs(value));
            // A maximum may overlook what is no number; a difference does not.
            zeros = S::add(zeros, S::sub(value, value));
        }
        let greatest = S::greatest(greatest);
        let scale = S::splat(if greatest > 0. { INT8_MAX / greatest } else { 0. });
        for place in (0..count).step_by(S::LANES) {
            let value = S::mul(E::load::<S>(from.add(place), part(place)), scale);
            S::store_u8(
                to.add(place),
                part(place),
                S::add(S::round(value), S::splat(SHIFT as f32)),
            );
        }
        greatest / INT8_MAX + S::sum(zeros)
    }
}

/// Rounded rows.
#[derive(Clone, Copy)]
pub(super) struct Rounded<'a> {
    panels: &'a Int8Panels,
    rows: (usize, usize),
    scratch: &'a Scratch,
}

impl<'a> Rounded<'a> {
    /// In the vectors of an instruction set.
    pub(super) fn in_vectors<S: Simd>(self, isa: Isa) -> InVectors<'a, S> {
        InVectors { rounded: self, isa, simd: PhantomData }
    }

    /// In tiles of AMX.
    ///
    /// # Safety
    /// There are tiles.
    #[cfg(target_arch = "x86_64")]
    pub(super) unsafe fn in_tiles<S: Simd>(self) -> InTiles<'a, S> {
        let height = height(self.rows.1 - self.rows.0, amx::ROWS);
        // SAFETY: there are.
        let tiles = unsafe { amx::Tiles::new(amx::Hardware, height) };
        InTiles { rounded: self, tiles, simd: PhantomData }
    }

    /// A part of some rows and of a panel.
    #[inline(always)]
    unsafe fn product<S: Simd>(&self, step: Step) -> Product<u8> {
        let Step { rows, panel, depth, next } = step;
        let stride = self.panels.stride();
        // SAFETY: the caller has such rows and such a panel.
        unsafe {
            let left = self.scratch.lines.as_ptr().cast::<u8>();
            let left = left.add((rows.0 - self.rows.0) * stride + depth.0);
            let panel = (self.panels.lines.as_ptr().cast::<u8>())
                .add(panel * width::<S>() * self.panels.depth + depth.0 * width::<S>());
            let (depth, onto) = (depth.1 - depth.0, depth.0 > 0);
            Product { left, stride, panel, depth, onto, next }
        }
    }
}

/// Integers become the numbers they stand for.
impl Read for Rounded<'_> {
    #[inline(always)]
    unsafe fn read<S: Simd>(self, sums: *const f32, row: usize, column: usize) -> S::V {
        let Int8Panels { scales, shifts, .. } = self.panels;
        // SAFETY: scales and shifts are filled up to whole panels; rows are ours.
        unsafe {
            let sum = S::sub_i32(sums.cast(), shifts.as_ptr().add(column));
            let own = S::splat(*self.scratch.scales.as_ptr().add(row - self.rows.0));
            S::mul(sum, S::mul(S::load(scales.as_ptr().add(column)), own))
        }
    }
}

pub(super) struct InVectors<'a, S> {
    rounded: Rounded<'a>,
    isa: Isa,
    simd: PhantomData<S>,
}

impl<'a, S: Simd> Multiply for InVectors<'a, S> {
    const MR: usize = S::ROWS;
    const TILES: bool = false;
    const SLICE: usize = FIRST_CACHE;
    type Value = u8;
    type Read = Rounded<'a>;

    fn panels(&self) -> (*const u8, usize) {
        (self.rounded.panels.lines.as_ptr().cast(), self.rounded.panels.depth)
    }

    fn steps(depth: usize) -> usize {
        depth / TOGETHER
    }

    fn read(&self) -> Rounded<'a> {
        self.rounded
    }

    #[inline(always)]
    unsafe fn multiply(&mut self, step: Step, sums: *mut f32, _: impl FnMut()) {
        // SAFETY: the caller's promise.
        unsafe {
            let rows = step.rows.1 - step.rows.0;
            int8_tile::<S>(self.isa, rows, self.rounded.product::<S>(step), sums.cast());
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) struct InTiles<'a, S> {
    rounded: Rounded<'a>,
    tiles: amx::Tiles<amx::Hardware>,
    simd: PhantomData<S>,
}

#[cfg(target_arch = "x86_64")]
impl<'a, S: Simd> Multiply for InTiles<'a, S> {
    const MR: usize = amx::ROWS;
    const TILES: bool = true;
    const SLICE: usize = usize::MAX;
    type Value = u8;
    type Read = Rounded<'a>;

    fn panels(&self) -> (*const u8, usize) {
        (self.rounded.panels.lines.as_ptr().cast(), self.rounded.panels.depth)
    }

    fn steps(depth: usize) -> usize {
        depth / amx::ROW_BYTES
    }

    fn read(&self) -> Rounded<'a> {
        self.rounded
    }

    #[inline(always)]
    unsafe fn multiply(&mut self, step: Step, sums: *mut f32, meanwhile: impl FnMut()) {
        // SAFETY: the caller's promise.
        unsafe {
            let product = self.rounded.product::<S>(step);
            self.tiles.multiply::<amx::Int8Quads, _>(product, sums, MAX_NR, meanwhile);
        }
    }
}
