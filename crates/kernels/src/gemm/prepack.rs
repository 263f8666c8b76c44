//! Weights of the inputs' type.

use crate::element::Element;
use crate::memory::{Line, OutOfMemory, zeros_for_weights};
use std::marker::PhantomData;

/// B: one panel of NR columns after another.
#[derive(Debug)]
pub(crate) struct Panels<E> {
    /// K, padded to whole K groups.
    k: usize,
    /// K of the inputs.
    inputs: usize,
    lines: Vec<Line>,
    element: PhantomData<E>,
}

impl<E: Element> Panels<E> {
    pub(super) fn new<W: Element>(
        nr: usize,
        inputs: usize,
        rows: &[&[W]],
    ) -> Result<Self, OutOfMemory> {
        let k = inputs.next_multiple_of(E::K_GROUP);
        let mut lines = zeros_for_weights(rows.len().next_multiple_of(nr) * k * size_of::<E>())?;
        let mut to = lines.as_mut_ptr().cast::<E>();
        // Written from the first to the last, read at as many places as a panel has columns.
        for rows in rows.chunks(nr) {
            for first in (0..k).step_by(E::K_GROUP) {
                for (column, row) in rows.iter().enumerate() {
                    for (i, value) in row[first..].iter().take(E::K_GROUP).enumerate() {
                        // SAFETY: a panel has `nr` columns of `k` values.
                        unsafe {
                            *to.add(column * E::K_GROUP + i) = E::from_f32(value.to_f32());
                        }
                    }
                }
                // SAFETY: as above: to the next K group of the panel, or its end.
                to = unsafe { to.add(nr * E::K_GROUP) };
            }
        }
        Ok(Self { k, inputs, lines, element: PhantomData })
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.lines.as_slice())
    }

    /// K, padded to whole K groups.
    pub(super) fn k(&self) -> usize {
        self.k
    }

    /// K of the inputs.
    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Where the first panel begins.
    pub(super) fn start(&self) -> *const E {
        self.lines.as_ptr().cast()
    }
}
