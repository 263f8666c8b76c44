//! What multiplies queries with keys, and shares with values.

#[cfg(target_arch = "x86_64")]
use crate::amx;
use crate::element::Element;
use crate::simd::Simd;
use crate::tile::{Product, half_tile, tile};
use std::marker::PhantomData;

/// Rows times panels.
pub(super) trait Products<E> {
    /// Rows of a tile, at the most.
    const MR: usize;
    /// Whether every tile has the rows of the first.
    const ALL: bool;
    /// The depth of a product is a multiple of it.
    const DEPTH: usize;

    /// Writes the products of `rows` rows with a panel, or with the first half of it.
    ///
    /// # Safety
    /// As of [`tile`].
    unsafe fn multiply(
        &mut self,
        rows: usize,
        half: bool,
        product: Product<E>,
        to: *mut f32,
        stride: usize,
    );
}

/// In the vectors of an instruction set.
pub(super) struct InVectors<S>(pub(super) PhantomData<S>);

impl<S: Simd, E: Element> Products<E> for InVectors<S> {
    const MR: usize = S::ROWS;
    const ALL: bool = false;
    const DEPTH: usize = E::DEPTH;

    #[inline(always)]
    unsafe fn multiply(
        &mut self,
        rows: usize,
        half: bool,
        product: Product<E>,
        to: *mut f32,
        stride: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match half {
                true => half_tile::<S, E>(rows, product, to, stride),
                false => tile::<S, E>(rows, product, to, stride),
            }
        }
    }
}

/// In tiles of AMX.
#[cfg(target_arch = "x86_64")]
pub(super) struct InTiles(pub(super) amx::Tiles<amx::Hardware>);

/// Values of bfloat16 in a row of a tile.
pub(super) const TILE_DEPTH: usize = crate::amx::ROW_BYTES / 2;

#[cfg(target_arch = "x86_64")]
impl<E: Element> Products<E> for InTiles {
    const MR: usize = amx::ROWS;
    const ALL: bool = true;
    const DEPTH: usize = TILE_DEPTH;

    #[inline(always)]
    unsafe fn multiply(
        &mut self,
        _: usize,
        _: bool,
        product: Product<E>,
        to: *mut f32,
        stride: usize,
    ) {
        // SAFETY: the caller's promise; elements are bfloat16.
        unsafe { self.0.multiply::<amx::Bf16Pairs, E>(product, to, stride, || ()) }
    }
}
