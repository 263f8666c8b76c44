//! The order in which rows meet panels.
//!
//! Weights come from far, so that a panel had better meet many rows while it is
//! at hand. It does so in slices that stay in the first cache: each is multiplied
//! with tiles of rows, which come from the second cache, and meanwhile the next
//! panel is asked for. The order of additions is that of the inputs whatever the
//! slices.

use super::Then;
use crate::element::{Element, Operations};
use crate::isa::Isa;
use crate::math;
use crate::matrix::{Line, RowsMut};
use crate::memory::{OutOfMemory, reserve};
use crate::simd::Simd;
use crate::tile::{Next, height, width};

/// Bytes of a slice whose tiles are vectors.
pub(super) const FIRST_CACHE: usize = 24 << 10;

/// Bytes that a row of deep inputs brings along at once.
pub(super) const NEAR: usize = 3 << 10;

/// What multiplies rows with panels.
pub(super) trait Multiply {
    /// Rows of a tile, at the most.
    const MR: usize;
    /// Whether it does so in tiles of AMX: all of them have the rows of the first,
    /// and something else can be done meanwhile.
    const TILES: bool;
    /// Bytes of a slice of a panel. As much comes from rows; both stay in the first
    /// cache. Simple tiles take all that is near: their sums are worth more than the
    /// way to the second cache.
    const SLICE: usize;
    /// What panels are made of.
    type Value;
    type Read: Read;

    /// Where they begin, and how many values a column has.
    fn panels(&self) -> (*const u8, usize);

    /// Slices begin at multiples of so many inputs.
    const WHOLE: usize = 64 / size_of::<Self::Value>();

    /// How many steps such a depth takes.
    fn steps(depth: usize) -> usize;

    /// What makes numbers of the sums.
    fn read(&self) -> Self::Read;

    /// Multiplies, and adds to the sums if the step is not the first of its rows
    /// and panel. Tiles call `meanwhile` in every step, and write the sums
    /// thereafter.
    ///
    /// # Safety
    /// There are such rows, not more than in a tile, such a panel, and sums of as
    /// many rows, as wide as a panel.
    unsafe fn multiply(&mut self, step: Step, sums: *mut f32, meanwhile: impl FnMut());
}

/// Rows of inputs times a panel, or a part of both.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) rows: (usize, usize),
    pub(super) panel: usize,
    pub(super) depth: (usize, usize),
    pub(super) next: Next,
}

/// What makes numbers of the sums of products.
pub(super) trait Read: Copy {
    /// # Safety
    /// There are a vector of sums, which are those of such a row and column.
    unsafe fn read<S: Simd>(self, sums: *const f32, row: usize, column: usize) -> S::V;
}

/// What is done to the sums of products before they are written.
pub(super) struct Epilogue<'a, O> {
    pub(super) isa: Isa,
    /// Padded to whole panels.
    pub(super) bias: &'a [f32],
    /// Columns of the result.
    pub(super) outputs: usize,
    pub(super) then: Then<'a>,
    pub(super) out: &'a RowsMut<'a, O>,
}

/// Rows whose sums are to be written.
#[derive(Clone, Copy)]
struct Waiting {
    rows: (usize, usize),
    column: usize,
    sums: *const f32,
}

impl<O: Element> Epilogue<'_, O> {
    /// Multiplies rows with panels, and writes; `near` inputs of all rows at once.
    ///
    /// # Errors
    /// If there is no memory for the sums.
    ///
    /// # Safety
    /// There are such rows and panels, and nobody else writes to their results.
    #[inline(always)]
    pub(super) unsafe fn all<S: Simd, M: Multiply>(
        &self,
        rows: (usize, usize),
        panels: (usize, usize),
        near: usize,
        mut by: M,
        memory: &mut Vec<Line>,
    ) -> Result<(), OutOfMemory> {
        let (start, depth) = by.panels();
        let size = size_of::<M::Value>();
        let line_width = width::<S>() * size;
        // Cut evenly.
        let slices = (depth * line_width).div_ceil(M::SLICE).max(1);
        let slice = depth.div_ceil(slices).min(near).next_multiple_of(M::WHOLE);
        let near = if near < depth { near.next_multiple_of(slice) } else { depth };
        let height = height(rows.1 - rows.0, M::MR);
        let tiles = (rows.1 - rows.0).div_ceil(height);
        // The sums of a tile that wait for the next slice.
        let apart = if slice < depth { tiles } else { 1 };
        let panel_sums = apart * height * width::<S>();
        // If the inputs are not all near, the sums of all panels wait for the others.
        let kept = if near < depth { panels.1 - panels.0 } else { 1 };
        memory.clear();
        reserve(memory, (kept * panel_sums).div_ceil(16))?;
        let sums: *mut f32 = memory.as_mut_ptr().cast();
        let read = by.read();
        let mut waiting = Waiting { rows: (0, 0), column: 0, sums };
        for deep in (0..depth).step_by(near) {
            let end = depth.min(deep + near);
            for panel in panels.0..panels.1 {
                let sums = sums.wrapping_add((panel - panels.0) % kept * panel_sums);
                for from in (deep..end).step_by(slice) {
                    let to = end.min(from + slice);
                    let steps = M::steps(to - from);
                    let next = start.wrapping_add(((panel + 1) * depth + from) * line_width);
                    let lines = (to - from) * line_width / 64;
                    let each = lines.div_ceil((steps * tiles).max(1));
                    for tile in 0..tiles {
                        let first = rows.0 + tile * height;
                        // Twice the same gives twice the same.
                        let first = if M::TILES { first.min(rows.1 - height) } else { first };
                        let rows = (first, rows.1.min(first + height));
                        let asked = tile * steps * each;
                        let next = match asked < lines {
                            true => Next { start: next.wrapping_add(64 * asked), lines: each },
                            false => Next::nothing(),
                        };
                        let step = Step { rows, panel, depth: (from, to), next };
                        let sums = sums.wrapping_add(tile % apart * height * width::<S>());
                        let share = height.div_ceil(steps.max(1));
                        // SAFETY: the caller's promise; the memory is for all sums
                        // that wait, and tiles leave none waiting.
                        unsafe {
                            by.multiply(step, sums, || {
                                self.write::<S, _>(read, &mut waiting, share);
                            });
                            if to == depth {
                                let column = panel * width::<S>();
                                waiting = Waiting { rows, column, sums };
                                if !M::TILES {
                                    self.write::<S, _>(read, &mut waiting, height);
                                }
                            }
                        }
                    }
                }
            }
        }
        // SAFETY: as above.
        unsafe { self.write::<S, _>(read, &mut waiting, height) };
        Ok(())
    }

    /// Of the next rows: adds the bias, does what comes then, and writes.
    #[inline(always)]
    unsafe fn write<S: Simd, R: Read>(&self, read: R, waiting: &mut Waiting, count: usize) {
        let Self { isa, bias, outputs, then, out } = self;
        let Waiting { rows, column, sums } = waiting;
        let end = rows.1.min(rows.0 + count);
        for row in rows.0..end {
            for half in 0..2 {
                let column = *column + half * S::LANES;
                if column >= *outputs {
                    break;
                }
                let count = S::LANES.min(outputs - column);
                // SAFETY: the bias is filled up to whole panels; `count` values are
                // left in each row of the result and of what is added.
                unsafe {
                    let sum = read.read::<S>(sums.add(half * S::LANES), row, column);
                    let sum = S::add(sum, S::load(bias.as_ptr().add(column)));
                    let value = match then {
                        Then::Keep => sum,
                        Then::Gelu => math::gelu::<S>(sum),
                        Then::Activation(activation) => {
                            // Not inlined: this function has many instances, and the code of
                            // all activations would be in each.
                            let mut lanes = S::lanes(sum);
                            activation.apply(*isa, &mut lanes[..S::LANES]);
                            S::load(lanes.as_ptr())
                        }
                        Then::Add(rows) => {
                            S::add(sum, <f32 as Operations>::load::<S>(rows.at(row, column), count))
                        }
                    };
                    O::store::<S>(out.at(row, column), count, value);
                }
            }
            *sums = sums.wrapping_add(width::<S>());
        }
        rows.0 = end.max(rows.0);
    }
}
