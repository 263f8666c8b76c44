//! The kernels as they ship, with every instruction set that this CPU has, against
//! [`bertscript_kernels::reference`].

mod activation;
mod attention;
mod batch_invariance;
mod glu;
mod int8;
mod layer_norm;
mod linear;
mod refusals;
mod rope;

use bertscript_kernels::{Bf16, Element, Isa, Matrix, Sequences};
use std::ops::Range;

/// Half of a last bit of float32 near 1: what one rounding is off by, at most.
const ROUNDING: f64 = f32::EPSILON as f64 / 2.;

fn available() -> impl Iterator<Item = Isa> {
    Isa::ALL.iter().copied().filter(|isa| isa.is_available())
}

/// Values of a matrix.
#[derive(Debug, Clone)]
struct Dense {
    values: Vec<f32>,
    width: usize,
}

/// Numbers from -1 to 1 that look random, the same in every run.
fn random(rows: usize, width: usize, seed: u64) -> Dense {
    let values = (0..(rows * width) as u64).map(|index| {
        let mut bits = index + (seed << 32);
        for factor in [0x1e37_79b9_7f4a_7c15, 0x3f58_476d_1ce4_e5b9, 0x14d0_49bb_1331_11eb_u64] {
            bits = (bits ^ (bits >> 29)).wrapping_mul(factor);
        }
        (bits.cast_signed() >> 40) as f32 / (1 << 23) as f32
    });
    Dense { values: values.collect(), width }
}

impl Dense {
    fn scaled(mut self, factor: f32) -> Self {
        self.values.iter_mut().for_each(|value| *value *= factor);
        self
    }

    /// The nearest values of bfloat16.
    fn rounded(mut self) -> Self {
        self.values.iter_mut().for_each(|value| *value = Bf16::from_f32(*value).to_f32());
        self
    }

    fn rows(&self, rows: Range<usize>) -> &[f32] {
        &self.values[rows.start * self.width..rows.end * self.width]
    }

    fn matrix<E: Element>(&self) -> Matrix<E> {
        self.part(0..self.values.len() / self.width)
    }

    fn part<E: Element>(&self, rows: Range<usize>) -> Matrix<E> {
        let mut matrix = zeros([rows.len(), self.width]);
        for (to, from) in rows.enumerate() {
            for (to, from) in matrix.row_mut(to).iter_mut().zip(self.rows(from..from + 1)) {
                *to = E::from_f32(*from);
            }
        }
        matrix
    }
}

fn zeros<E: Element>([rows, width]: [usize; 2]) -> Matrix<E> {
    let mut matrix = Matrix::new(width);
    matrix.set_rows(rows).unwrap();
    matrix
}

fn flat<E: Element>(matrix: &Matrix<E>) -> Vec<f32> {
    (0..matrix.len()).flat_map(|row| matrix.row(row).iter().map(|value| value.to_f32())).collect()
}

/// The bits of all values, the sign of zero too.
fn bits<E: Element>(matrix: &Matrix<E>) -> Vec<u32> {
    flat(matrix).into_iter().map(f32::to_bits).collect()
}

/// The bits of the nearest bfloat16 values.
fn rounded(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| Bf16::from_f32(*value).to_f32().to_bits()).collect()
}

/// Checks every value against the exact one and how far it may be off.
fn check(what: &str, found: &[f32], exact: &[f64], bound: impl Fn(usize) -> f64) {
    assert_eq!(found.len(), exact.len(), "{what}");
    for (index, (found, exact)) in found.iter().zip(exact).enumerate() {
        let (error, bound) = ((f64::from(*found) - exact).abs(), bound(index));
        assert!(error <= bound, "{what}: {index}: {found}, not {exact}: {error:e} > {bound:e}");
    }
}

/// Where each sequence of these lengths begins, and the end of the last.
fn cu_seqlens(lengths: &[usize]) -> Vec<usize> {
    let ends = lengths.iter().scan(0, |end, length| {
        *end += length;
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

/// The rows of each sequence that has any.
fn ranges(lengths: &[usize]) -> Vec<Range<usize>> {
    let ends = cu_seqlens(lengths);
    ends.windows(2).map(|pair| pair[0]..pair[1]).filter(|rows| !rows.is_empty()).collect()
}

/// Sequences whose tokens attend to all of their own sequence.
fn sequences(cu_seqlens: &[usize], num_heads: usize) -> Sequences<'_> {
    Sequences::new(cu_seqlens, num_heads)
}
