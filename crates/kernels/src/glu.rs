//! Gated linear units.

use crate::activation::{Activation, value};
use crate::element::{Element, Storage};
use crate::instances::vectorize;
use crate::isa::Isa;
use crate::matrix::{AnyRowsMut, Rows, RowsMut};
use crate::memory::OutOfMemory;
use crate::simd::{Simd, VectorOp};
use crate::team::{Solo, Team, parallel_for};

/// Fewer values than this are not worth a second thread.
const MIN_PARALLEL_WORK: usize = 1 << 14;

/// Rows that one thread takes together.
const BLOCK: usize = 8;

/// `activation(gate) * up` of x `[N,2I]`, gate and up beside one another, -> `[N,I]`, in
/// float32, rounded once; without an activation, `gate * up`. Shazeer 2020,
/// <https://arxiv.org/abs/2002.05202>
///
/// # Errors
/// None at present; it allocates no memory.
///
/// # Panics
/// If the result has another shape, the function is row-wise, or the CPU lacks the
/// instructions.
pub fn glu<E: Element>(
    isa: Isa,
    team: &dyn Team,
    activation: Option<Activation>,
    x: Rows<'_, f32>,
    out: RowsMut<'_, E>,
) -> Result<(), OutOfMemory> {
    assert!(isa.is_available(), "{isa:?}");
    assert_eq!((x.rows, x.width), (out.rows, 2 * out.width), "gate and up");
    assert!(!activation.is_some_and(Activation::is_row_wise), "{activation:?}");
    gate_to(isa, team, activation, x, out.erase())
}

fn gate_to(
    isa: Isa,
    team: &dyn Team,
    activation: Option<Activation>,
    x: Rows<'_, f32>,
    out: AnyRowsMut<'_>,
) -> Result<(), OutOfMemory> {
    match out {
        AnyRowsMut::F32(out) => gate(isa, team, activation, x, &out),
        AnyRowsMut::Bf16(out) => gate(isa, team, activation, x, &out),
    }
}

fn gate<E: Element>(
    isa: Isa,
    team: &dyn Team,
    activation: Option<Activation>,
    x: Rows<'_, f32>,
    out: &RowsMut<'_, E>,
) -> Result<(), OutOfMemory> {
    let team: &dyn Team = if x.rows * x.width < MIN_PARALLEL_WORK { &Solo } else { team };
    parallel_for(
        team,
        x.rows.div_ceil(BLOCK),
        || Ok(()),
        |(), block| {
            let rows = (block * BLOCK, x.rows.min((block + 1) * BLOCK));
            vectorize!(isa, Block { activation, x, out, rows });
            Ok(())
        },
    )
}

/// Some rows. Constructed where shapes were compared; no two blocks share a row.
struct Block<'a, E> {
    activation: Option<Activation>,
    x: Rows<'a, f32>,
    out: &'a RowsMut<'a, E>,
    rows: (usize, usize),
}

impl<S: Simd, E: Element> VectorOp<S> for Block<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let Self { activation, x, out, rows } = self;
        let width = out.width;
        for row in rows.0..rows.1 {
            for column in (0..width).step_by(S::LANES) {
                let count = S::LANES.min(width - column);
                // SAFETY: every column is one of the row's, every part ends with its half.
                unsafe {
                    let load = |column| f32::load(s, x.at(row, column), count);
                    let (gate, up) = (load(column), load(width + column));
                    let gate = match activation {
                        Some(activation) => value(s, activation, gate),
                        None => gate,
                    };
                    E::store(s, out.at(row, column), count, s.mul(gate, up));
                }
            }
        }
    }
}
