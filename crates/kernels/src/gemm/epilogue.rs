//! What becomes of accumulators: dequantize, add the bias, apply an activation or add a residual,
//! convert, store.

use crate::activation::Activation;
use crate::element::Storage;
use crate::isa::Isa;
use crate::math;
use crate::matrix::{AnyRowsMut, Rows};
use crate::simd::Simd;

/// What is done to the values of a layer before they are written.
#[derive(Debug, Clone, Copy)]
pub enum Then<'a> {
    /// Nothing.
    Keep,
    /// `torch.nn.functional.gelu`.
    Gelu,
    /// An activation function; row-wise ones are applied to the outputs as they are rounded.
    Activation(Activation),
    /// Rows are added, one to one.
    Add(Rows<'a, f32>),
}

/// What follows a product.
pub(crate) struct Epilogue<'a> {
    /// The instruction set of activations.
    pub(crate) isa: Isa,
    /// Padded to whole panels.
    pub(crate) bias: &'a [f32],
    /// N: columns that exist.
    pub(crate) outputs: usize,
    pub(crate) then: Then<'a>,
    pub(crate) out: AnyRowsMut<'a>,
}

/// Makes float32 of accumulators.
pub(super) trait Dequantize: Copy {
    /// # Safety
    /// There are a vector of accumulators, which are those of such a row and column.
    unsafe fn read<S: Simd>(self, s: S, acc: *const f32, row: usize, column: usize) -> S::V;
}

/// Accumulators that are float32.
#[derive(Clone, Copy)]
pub(super) struct Plain;

impl Dequantize for Plain {
    #[inline(always)]
    unsafe fn read<S: Simd>(self, s: S, acc: *const f32, _: usize, _: usize) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { s.load(acc) }
    }
}

/// Rows whose accumulators are to be written.
#[derive(Clone, Copy)]
pub(super) struct Waiting {
    pub(super) rows: (usize, usize),
    pub(super) column: usize,
    pub(super) acc: *const f32,
}

impl Epilogue<'_> {
    /// Writes the next `count` rows.
    ///
    /// # Safety
    /// Accumulators of all waiting rows are there, NR columns each; nobody else reads or writes their
    /// results.
    #[inline(always)]
    pub(super) unsafe fn write<S: Simd, D: Dequantize>(
        &self,
        s: S,
        dequantize: D,
        waiting: &mut Waiting,
        count: usize,
    ) {
        let Self { isa, bias, outputs, then, out } = self;
        let Waiting { rows, column, acc } = waiting;
        let end = rows.1.min(rows.0 + count);
        for row in rows.0..end {
            for half in 0..2 {
                let column = *column + half * S::LANES;
                if column >= *outputs {
                    break;
                }
                let count = S::LANES.min(outputs - column);
                // SAFETY: the bias is padded to whole panels; `count` values are
                // left in each row of the result and of the residual.
                unsafe {
                    let sum = dequantize.read(s, acc.add(half * S::LANES), row, column);
                    let sum = s.add(sum, s.load(bias.as_ptr().add(column)));
                    let value = match then {
                        Then::Keep => sum,
                        Then::Gelu => math::gelu(s, sum),
                        Then::Activation(activation) => {
                            // Not inlined: this function has many instances, and the code of
                            // all activations would be in each.
                            let mut lanes = s.lanes(sum);
                            activation.apply(*isa, &mut lanes[..S::LANES]);
                            s.load(lanes.as_ptr())
                        }
                        Then::Add(rows) => s.add(sum, f32::load(s, rows.at(row, column), count)),
                    };
                    out.store(s, (row, column), count, value);
                }
            }
            *acc = acc.wrapping_add(S::NR);
        }
        rows.0 = end.max(rows.0);
    }
}
