//! Memory between layers.

use crate::error::Result;
use bertscript_kernels::{Element, Matrix};

/// What layers hand on.
#[derive(Debug)]
pub(super) struct Scratch<E> {
    /// `[T,H]`
    pub(super) x: Matrix<f32>,
    /// The same, as inputs of products
    pub(super) copied: Matrix<E>,
    /// `[T,3H]`
    pub(super) qkv: Matrix<E>,
    /// `[T,H]`
    pub(super) context: Matrix<E>,
    /// `[T,4H]`, as a rule
    pub(super) intermediate: Matrix<E>,
    /// Gate and up, twice as wide as that
    pub(super) gated: Matrix<f32>,
    /// What attention adds up to, `[T,H]`
    pub(super) sum: Matrix<f32>,
}

impl<E: Element> Scratch<E> {
    pub(super) fn new(hidden_size: usize, wide: usize) -> Self {
        Self {
            x: Matrix::new(hidden_size),
            copied: Matrix::new(hidden_size),
            qkv: Matrix::new(3 * hidden_size),
            context: Matrix::new(hidden_size),
            intermediate: Matrix::new(wide),
            gated: Matrix::new(2 * wide),
            sum: Matrix::new(hidden_size),
        }
    }

    /// Keeps these rows, in this order, of what the rest of a layer takes.
    pub(super) fn keep_rows(&mut self, rows: &[usize]) -> Result<()> {
        let Self { x, copied, context, sum, .. } = self;
        sum.set_rows(rows.len())?;
        copied.set_rows(rows.len())?;
        for (to, from) in rows.iter().enumerate() {
            sum.row_mut(to).copy_from_slice(x.row(*from));
            copied.row_mut(to).copy_from_slice(context.row(*from));
        }
        std::mem::swap(x, sum);
        std::mem::swap(context, copied);
        self.set_rows(rows.len())
    }

    pub(super) fn set_rows(&mut self, tokens: usize) -> Result<()> {
        self.x.set_rows(tokens)?;
        self.copied.set_rows(tokens)?;
        self.qkv.set_rows(tokens)?;
        self.context.set_rows(tokens)?;
        Ok(())
    }
}
