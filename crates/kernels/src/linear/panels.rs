//! Weights of the inputs' type.

use super::order::{FIRST_CACHE, Multiply, Read, Step};
#[cfg(target_arch = "x86_64")]
use crate::amx;
use crate::element::Element;
use crate::matrix::{Line, Rows, zeros_for_weights};
use crate::memory::OutOfMemory;
use crate::simd::Simd;
use crate::tile::{MAX_NR, Product, height, tile, width};
use std::marker::PhantomData;

/// A weight, a panel of columns after another.
#[derive(Debug)]
pub(super) struct Panels<E> {
    /// Columns of a panel.
    width: usize,
    /// The inputs, filled up to what a product takes together.
    depth: usize,
    lines: Vec<Line>,
    element: PhantomData<E>,
}

impl<E: Element> Panels<E> {
    pub(super) fn new<W: Element>(
        width: usize,
        inputs: usize,
        rows: &[&[W]],
    ) -> Result<Self, OutOfMemory> {
        let depth = inputs.next_multiple_of(E::DEPTH);
        let mut lines =
            zeros_for_weights(rows.len().next_multiple_of(width) * depth * size_of::<E>())?;
        let mut to = lines.as_mut_ptr().cast::<E>();
        // Written from the first to the last, read in as many places as a panel has columns.
        for rows in rows.chunks(width) {
            for first in (0..depth).step_by(E::DEPTH) {
                for (column, row) in rows.iter().enumerate() {
                    for (i, value) in row[first..].iter().take(E::DEPTH).enumerate() {
                        // SAFETY: a panel has `width` columns of `depth` values.
                        unsafe {
                            *to.add(column * E::DEPTH + i) = E::from_f32(value.to_f32());
                        }
                    }
                }
                // SAFETY: as above: to the next line of the panel, or its end.
                to = unsafe { to.add(width * E::DEPTH) };
            }
        }
        Ok(Self { width, depth, lines, element: PhantomData })
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.lines.as_slice())
    }

    /// A part of some rows and of a panel.
    #[inline(always)]
    unsafe fn product(&self, x: Rows<'_, E>, step: Step) -> Product<E> {
        let Step { rows, panel, depth, next } = step;
        // SAFETY: the caller has such rows and such a panel.
        unsafe {
            let left = x.start.add(rows.0 * x.stride + depth.0);
            let panel = (self.lines.as_ptr().cast::<E>())
                .add(panel * self.width * self.depth + depth.0 * self.width);
            let (depth, onto) = (depth.1 - depth.0, depth.0 > 0);
            Product { left, stride: x.stride, panel, depth, onto, next }
        }
    }

    /// In the vectors of an instruction set.
    pub(super) fn in_vectors<'a, S: Simd>(&'a self, x: Rows<'a, E>) -> InVectors<'a, S, E> {
        InVectors { panels: self, x, simd: PhantomData }
    }

    /// Where the panels begin, and how many values a column has.
    pub(super) fn start(&self) -> (*const E, usize) {
        (self.lines.as_ptr().cast(), self.depth)
    }

    /// Whether tiles of AMX take it.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn fit_tiles(&self) -> bool {
        E::DEPTH == 2 && self.depth.is_multiple_of(amx::ROW_BYTES / size_of::<E>())
    }

    /// In tiles of AMX.
    ///
    /// # Safety
    /// There are tiles, and [`Self::fit_tiles`].
    #[cfg(target_arch = "x86_64")]
    pub(super) unsafe fn in_tiles<'a>(
        &'a self,
        x: Rows<'a, E>,
        rows: (usize, usize),
    ) -> InTiles<'a, E> {
        let height = height(rows.1 - rows.0, amx::ROWS);
        // SAFETY: there are tiles.
        InTiles { panels: self, x, tiles: unsafe { amx::Tiles::new(amx::Hardware, height) } }
    }
}

pub(super) struct InVectors<'a, S, E> {
    panels: &'a Panels<E>,
    x: Rows<'a, E>,
    simd: PhantomData<S>,
}

impl<S: Simd, E: Element> Multiply for InVectors<'_, S, E> {
    const MR: usize = S::ROWS;
    const TILES: bool = false;
    const SLICE: usize = FIRST_CACHE;
    type Value = E;
    type Read = Plain;

    fn panels(&self) -> (*const u8, usize) {
        (self.panels.lines.as_ptr().cast(), self.panels.depth)
    }

    fn steps(depth: usize) -> usize {
        depth / E::DEPTH
    }

    fn read(&self) -> Plain {
        Plain
    }

    #[inline(always)]
    unsafe fn multiply(&mut self, step: Step, sums: *mut f32, _: impl FnMut()) {
        // SAFETY: the caller's promise.
        unsafe {
            let rows = step.rows.1 - step.rows.0;
            let product = self.panels.product(self.x, step);
            tile::<S, E>(rows, product, sums, width::<S>());
        }
    }
}

/// Sums are what they are.
#[derive(Clone, Copy)]
pub(super) struct Plain;

impl Read for Plain {
    #[inline(always)]
    unsafe fn read<S: Simd>(self, sums: *const f32, _: usize, _: usize) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { S::load(sums) }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) struct InTiles<'a, E> {
    panels: &'a Panels<E>,
    x: Rows<'a, E>,
    tiles: amx::Tiles<amx::Hardware>,
}

#[cfg(target_arch = "x86_64")]
impl<E: Element> Multiply for InTiles<'_, E> {
    const MR: usize = amx::ROWS;
    const TILES: bool = true;
    const SLICE: usize = usize::MAX;
    type Value = E;
    type Read = Plain;

    fn panels(&self) -> (*const u8, usize) {
        (self.panels.lines.as_ptr().cast(), self.panels.depth)
    }

    fn steps(depth: usize) -> usize {
        depth * size_of::<E>() / amx::ROW_BYTES
    }

    fn read(&self) -> Plain {
        Plain
    }

    #[inline(always)]
    unsafe fn multiply(&mut self, step: Step, sums: *mut f32, meanwhile: impl FnMut()) {
        // SAFETY: the caller's promise.
        unsafe {
            let product = self.panels.product(self.x, step);
            self.tiles.multiply::<amx::Bf16Pairs, _>(product, sums, MAX_NR, meanwhile);
        }
    }
}
