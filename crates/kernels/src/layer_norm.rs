//! `torch.nn.LayerNorm`.

use crate::element::{Element, Storage};
use crate::instances::vectorize;
use crate::isa::Isa;
use crate::matrix::{AnyRowsMut, Rows, RowsMut};
use crate::memory::{OutOfMemory, collect};
use crate::simd::{Simd, VectorOp};
use crate::team::{Solo, Team, parallel_for};

/// Rows that one thread takes together.
const BLOCK: usize = 32;

/// Normalisation of rows, with weight and bias.
#[derive(Debug)]
pub struct LayerNorm {
    isa: Isa,
    weight: Vec<f32>,
    bias: Vec<f32>,
    eps: f32,
}

impl LayerNorm {
    /// weight and bias `[H]`
    ///
    /// # Errors
    /// If memory runs out.
    ///
    /// # Panics
    /// If they are not equally long, or the CPU lacks the instructions.
    pub fn new<W: Element>(
        isa: Isa,
        weight: &[W],
        bias: &[W],
        eps: f64,
    ) -> Result<Self, OutOfMemory> {
        assert!(isa.is_available(), "{isa:?}");
        assert_eq!(weight.len(), bias.len(), "as many biases as weights");
        let values = |values: &[W]| collect(values.iter().map(|value| value.to_f32()));
        Ok(Self { isa, weight: values(weight)?, bias: values(bias)?, eps: eps as f32 })
    }

    /// x `[N,H]` is normalised in place; `copy`, with as many rows or none, gets
    /// the same values.
    ///
    /// # Errors
    /// If memory runs out.
    ///
    /// # Panics
    /// If a matrix has another shape.
    pub fn forward<E: Element>(
        &self,
        team: &dyn Team,
        x: RowsMut<'_, f32>,
        copy: RowsMut<'_, E>,
    ) -> Result<(), OutOfMemory> {
        assert!(copy.rows == 0 || copy.rows == x.rows, "as many copies as rows");
        self.normalize(team, x.as_rows(), Some(&x), &copy.erase())
    }

    /// The same, x is left as it is.
    ///
    /// # Errors
    /// If memory runs out.
    ///
    /// # Panics
    /// If a matrix has another shape.
    pub fn forward_to<E: Element>(
        &self,
        team: &dyn Team,
        x: Rows<'_, f32>,
        out: RowsMut<'_, E>,
    ) -> Result<(), OutOfMemory> {
        assert_eq!(out.rows, x.rows, "as many copies as rows");
        self.normalize(team, x, None, &out.erase())
    }

    fn normalize(
        &self,
        team: &dyn Team,
        from: Rows<'_, f32>,
        x: Option<&RowsMut<'_, f32>>,
        copy: &AnyRowsMut<'_>,
    ) -> Result<(), OutOfMemory> {
        let width = self.weight.len();
        assert_eq!((from.width, copy.shape().1), (width, width), "other widths");
        let team: &dyn Team = if from.rows < 2 * BLOCK { &Solo } else { team };
        parallel_for(
            team,
            from.rows.div_ceil(BLOCK),
            || Ok(()),
            |(), block| {
                let rows = (block * BLOCK, from.rows.min((block + 1) * BLOCK));
                vectorize!(self.isa, Block { norm: self, from, x, copy, rows });
                Ok(())
            },
        )
    }
}

/// Some rows. Constructed where shapes were compared; no two blocks share a row.
struct Block<'a> {
    norm: &'a LayerNorm,
    from: Rows<'a, f32>,
    x: Option<&'a RowsMut<'a, f32>>,
    copy: &'a AnyRowsMut<'a>,
    rows: (usize, usize),
}

impl<S: Simd> VectorOp<S> for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let has_copy = self.copy.shape().0 > 0;
        let width = self.from.width;
        let part = |column: usize| S::LANES.min(width - column);
        for row in self.rows.0..self.rows.1 {
            // SAFETY: every column is one of the row's, every part ends with it.
            unsafe {
                let mut sum = s.zero();
                for column in (0..width).step_by(S::LANES) {
                    let values = f32::load(s, self.from.at(row, column), part(column));
                    sum = s.add(sum, values);
                }
                let mean = s.splat(s.reduce_sum(sum) / width as f32);
                let (mut squares, mut rest) = (s.zero(), s.zero());
                for column in (0..width).step_by(S::LANES) {
                    let count = part(column);
                    let values = f32::load(s, self.from.at(row, column), count);
                    let mut apart = s.sub(values, mean);
                    if count < S::LANES {
                        // Masked lanes contribute 0.
                        let mut kept = [0.; 16];
                        s.store_part(kept.as_mut_ptr(), count, apart);
                        apart = s.load(kept.as_ptr());
                    }
                    squares = s.fma(apart, apart, squares);
                    rest = s.add(rest, apart);
                }
                // What rounding took from the mean: great where all values are.
                let rest = s.reduce_sum(rest) / width as f32;
                let mean = s.add(mean, s.splat(rest));
                let variance = (s.reduce_sum(squares) / width as f32 - rest * rest).max(0.);
                let scale = s.splat((variance + self.norm.eps).sqrt().recip());
                for column in (0..width).step_by(S::LANES) {
                    let count = part(column);
                    let values = f32::load(s, self.from.at(row, column), count);
                    let apart = s.sub(values, mean);
                    let weight = self.norm.weight.as_ptr().add(column);
                    let bias = self.norm.bias.as_ptr().add(column);
                    let value = s.fma(
                        s.mul(apart, scale),
                        f32::load(s, weight, count),
                        f32::load(s, bias, count),
                    );
                    if let Some(x) = self.x {
                        f32::store(s, x.at(row, column), count, value);
                    }
                    if has_copy {
                        self.copy.store(s, (row, column), count, value);
                    }
                }
            }
        }
    }
}
