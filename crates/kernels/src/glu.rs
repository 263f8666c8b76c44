//! Gated linear units.

use crate::activation::{Activation, value};
use crate::element::{Element, Operations};
use crate::isa::{Isa, Kernel};
use crate::matrix::{Rows, RowsMut};
use crate::memory::OutOfMemory;
use crate::simd::Simd;
use crate::team::{Team, share};

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
    let team: &dyn Team = if x.rows * x.width < MIN_PARALLEL_WORK { &crate::Solo } else { team };
    share(
        team,
        x.rows.div_ceil(BLOCK),
        || Ok(()),
        |(), block| {
            let rows = (block * BLOCK, x.rows.min((block + 1) * BLOCK));
            // SAFETY: available; shapes were compared, no two blocks share a row.
            unsafe { isa.run(Block { activation, x, out: &out, rows }) };
            Ok(())
        },
    )
}

struct Block<'a, E> {
    activation: Option<Activation>,
    x: Rows<'a, f32>,
    out: &'a RowsMut<'a, E>,
    rows: (usize, usize),
}

impl<E: Element> Kernel for Block<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { activation, x, out, rows } = self;
        for row in rows.0..rows.1 {
            for column in (0..out.width).step_by(S::LANES) {
                let count = S::LANES.min(out.width - column);
                // SAFETY: every column is one of the row's, every part ends with its half.
                unsafe {
                    let load = |column| <f32 as Operations>::load::<S>(x.at(row, column), count);
                    let (gate, up) = (load(column), load(out.width + column));
                    let gate = match activation {
                        Some(activation) => value::<S>(activation, gate),
                        None => gate,
                    };
                    E::store::<S>(out.at(row, column), count, S::mul(gate, up));
                }
            }
        }
    }
}
