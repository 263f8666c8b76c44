//! Rotary position embeddings, Su et al. 2021, <https://arxiv.org/abs/2104.09864>.

use crate::element::{Element, Storage};
use crate::instances::vectorize;
use crate::isa::Isa;
use crate::matrix::{AnyRowsMut, RowsMut};
use crate::memory::{OutOfMemory, with_capacity};
use crate::simd::{Simd, VectorOp};
use crate::team::{Solo, Team, parallel_for};

/// Fewer values than this are not worth a second thread.
const MIN_PARALLEL_WORK: usize = 1 << 14;

/// Rows that one thread takes together.
const BLOCK: usize = 8;

/// Cosines and sines of positions.
#[derive(Debug)]
pub struct Rope {
    /// Half of a head's dimension
    half: usize,
    /// For each position, the cosines of all angles and then the sines
    table: Vec<f32>,
}

impl Rope {
    /// Those of positions from 0 on, for heads of an even dimension `d`: the angle `i` of
    /// position `p` is `p / theta^(2i/d)`, rounded to float32 as upstream rounds it.
    ///
    /// # Errors
    /// If memory runs out.
    ///
    /// # Panics
    /// If the dimension is odd.
    pub fn new(theta: f64, head_dim: usize, positions: usize) -> Result<Self, OutOfMemory> {
        assert!(head_dim.is_multiple_of(2), "heads of {head_dim} values");
        let half = head_dim / 2;
        let mut frequencies = with_capacity(half)?;
        frequencies.extend((0..half).map(|index| {
            let exponent = (2 * index) as f32 / head_dim as f32;
            (theta.powf(f64::from(exponent)) as f32).recip()
        }));
        let mut table = with_capacity(positions * head_dim)?;
        for position in 0..positions {
            // An angle in float32 is far off where it is great, and so it is upstream.
            let angles = || frequencies.iter().map(|frequency| position as f32 * frequency);
            table.extend(angles().map(|angle| f64::from(angle).cos() as f32));
            table.extend(angles().map(|angle| f64::from(angle).sin() as f32));
        }
        Ok(Self { half, table })
    }

    /// The number of positions.
    pub fn positions(&self) -> usize {
        self.table.len().checked_div(2 * self.half).unwrap_or(0)
    }

    /// Rotates queries and keys of `num_heads` heads each, the first columns of x, in place:
    /// the halves `a`, `b` of a head become `a cos - b sin` and `b cos + a sin`, in float32,
    /// rounded once. positions `[N]`
    ///
    /// # Errors
    /// None at present; it allocates no memory.
    ///
    /// # Panics
    /// If rows are not as many as positions, a position is not in the table, the heads are
    /// wider than x, or the CPU lacks the instructions.
    pub fn rotate<E: Element>(
        &self,
        isa: Isa,
        team: &dyn Team,
        positions: &[i64],
        num_heads: usize,
        x: RowsMut<'_, E>,
    ) -> Result<(), OutOfMemory> {
        assert!(isa.is_available(), "{isa:?}");
        assert_eq!(x.rows, positions.len(), "a position for each row");
        let is_known = |position: &i64| (0..self.positions() as i64).contains(position);
        assert!(positions.iter().all(is_known), "positions below {}", self.positions());
        let width = 4 * num_heads * self.half;
        assert!(width <= x.width, "{num_heads} heads in {} columns", x.width);
        self.rotate_rows(isa, team, positions, num_heads, x.erase())
    }

    fn rotate_rows(
        &self,
        isa: Isa,
        team: &dyn Team,
        positions: &[i64],
        num_heads: usize,
        x: AnyRowsMut<'_>,
    ) -> Result<(), OutOfMemory> {
        match x {
            AnyRowsMut::F32(x) => self.rotate_each(isa, team, positions, num_heads, &x),
            AnyRowsMut::Bf16(x) => self.rotate_each(isa, team, positions, num_heads, &x),
        }
    }

    fn rotate_each<E: Element>(
        &self,
        isa: Isa,
        team: &dyn Team,
        positions: &[i64],
        num_heads: usize,
        x: &RowsMut<'_, E>,
    ) -> Result<(), OutOfMemory> {
        let width = 4 * num_heads * self.half;
        let team: &dyn Team = if x.rows * width < MIN_PARALLEL_WORK { &Solo } else { team };
        parallel_for(
            team,
            x.rows.div_ceil(BLOCK),
            || Ok(()),
            |(), block| {
                let rows = (block * BLOCK, x.rows.min((block + 1) * BLOCK));
                vectorize!(isa, Block { rope: self, positions, heads: 2 * num_heads, x, rows });
                Ok(())
            },
        )
    }
}

/// Some rows. Constructed where shapes were compared; no two blocks share a row.
struct Block<'a, E> {
    rope: &'a Rope,
    positions: &'a [i64],
    /// Of queries and of keys
    heads: usize,
    x: &'a RowsMut<'a, E>,
    rows: (usize, usize),
}

impl<S: Simd, E: Element> VectorOp<S> for Block<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let Self { rope: Rope { half, table }, positions, heads, x, rows } = self;
        for row in rows.0..rows.1 {
            let of_position = &table[positions[row] as usize * 2 * half..][..2 * half];
            let (cos, sin) = of_position.split_at(*half);
            for head in 0..heads {
                let first = head * 2 * half;
                for column in (0..*half).step_by(S::LANES) {
                    let count = S::LANES.min(half - column);
                    // SAFETY: every column is one of the head's, every part ends with its half.
                    unsafe {
                        let [a, b] = [first, first + half].map(|start| x.at(row, start + column));
                        let load = |from: &[f32]| f32::load(s, from.as_ptr().add(column), count);
                        let (cos, sin) = (load(cos), load(sin));
                        let (left, right) = (E::load(s, a, count), E::load(s, b, count));
                        let minus = s.sub(s.mul(left, cos), s.mul(right, sin));
                        let plus = s.fma(right, cos, s.mul(left, sin));
                        E::store(s, a, count, minus);
                        E::store(s, b, count, plus);
                    }
                }
            }
        }
    }
}
