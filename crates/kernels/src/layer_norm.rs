//! `torch.nn.LayerNorm`.

use crate::element::{Element, Operations};
use crate::isa::{Isa, Kernel};
use crate::matrix::{Rows, RowsMut};
use crate::memory::{OutOfMemory, collect};
use crate::simd::Simd;
use crate::team::{Team, share};

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
        self.share(team, x.as_rows(), Some(&x), &copy)
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
        self.share(team, x, None, &out)
    }

    fn share<E: Element>(
        &self,
        team: &dyn Team,
        from: Rows<'_, f32>,
        x: Option<&RowsMut<'_, f32>>,
        copy: &RowsMut<'_, E>,
    ) -> Result<(), OutOfMemory> {
        let width = self.weight.len();
        assert_eq!((from.width, copy.width), (width, width), "other widths");
        let team: &dyn Team = if from.rows < 2 * BLOCK { &crate::Solo } else { team };
        share(
            team,
            from.rows.div_ceil(BLOCK),
            || Ok(()),
            |(), number| {
                let rows = (number * BLOCK, from.rows.min((number + 1) * BLOCK));
                // SAFETY: available; shapes were compared, no two pieces share a row.
                unsafe { self.isa.run(Piece { norm: self, from, x, copy, rows }) };
                Ok(())
            },
        )
    }
}

struct Piece<'a, E> {
    norm: &'a LayerNorm,
    from: Rows<'a, f32>,
    x: Option<&'a RowsMut<'a, f32>>,
    copy: &'a RowsMut<'a, E>,
    rows: (usize, usize),
}

impl<E: Element> Kernel for Piece<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = self.from.width;
        let part = |column: usize| S::LANES.min(width - column);
        for row in self.rows.0..self.rows.1 {
            // SAFETY: every column is one of the row's, every part ends with it.
            unsafe {
                let mut sum = S::zero();
                for column in (0..width).step_by(S::LANES) {
                    let values =
                        <f32 as Operations>::load::<S>(self.from.at(row, column), part(column));
                    sum = S::add(sum, values);
                }
                let mean = S::splat(S::sum(sum) / width as f32);
                let (mut squares, mut rest) = (S::zero(), S::zero());
                for column in (0..width).step_by(S::LANES) {
                    let count = part(column);
                    let values = <f32 as Operations>::load::<S>(self.from.at(row, column), count);
                    let mut apart = S::sub(values, mean);
                    if count < S::LANES {
                        // What is not there is not apart.
                        let mut kept = [0.; 16];
                        S::store_part(kept.as_mut_ptr(), count, apart);
                        apart = S::load(kept.as_ptr());
                    }
                    squares = S::fma(apart, apart, squares);
                    rest = S::add(rest, apart);
                }
                // What rounding took from the mean: great where all values are.
                let rest = S::sum(rest) / width as f32;
                let mean = S::add(mean, S::splat(rest));
                let variance = (S::sum(squares) / width as f32 - rest * rest).max(0.);
                let scale = S::splat((variance + self.norm.eps).sqrt().recip());
                for column in (0..width).step_by(S::LANES) {
                    let count = part(column);
                    let values = <f32 as Operations>::load::<S>(self.from.at(row, column), count);
                    let apart = S::sub(values, mean);
                    let weight = self.norm.weight.as_ptr().add(column);
                    let bias = self.norm.bias.as_ptr().add(column);
                    let value = S::fma(
                        S::mul(apart, scale),
                        <f32 as Operations>::load::<S>(weight, count),
                        <f32 as Operations>::load::<S>(bias, count),
                    );
                    if let Some(x) = self.x {
                        <f32 as Operations>::store::<S>(x.at(row, column), count, value);
                    }
                    if self.copy.rows > 0 {
                        E::store::<S>(self.copy.at(row, column), count, value);
                    }
                }
            }
        }
    }
}
