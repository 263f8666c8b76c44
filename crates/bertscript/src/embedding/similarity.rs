//! How near embeddings are to one another.

use super::Similarity;
use crate::device::Device;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{collect, filled, with_capacity};
use crate::parallel;
use crate::process::{CallThreads, enter};
use crate::tensor::Tensor;
use bertscript_kernels::{Isa, Linear, Matrix, OutOfMemory, Then};

impl Similarity {
    /// Every row of `a` `[N,D]` with every row of `b` `[M,D]`: `[N,M]`, float32, on their
    /// device. It is computed on the CPU.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for tensors of another form, of two widths, or on two
    /// devices.
    pub fn of(self, a: impl AsRef<Tensor>, b: impl AsRef<Tensor>) -> Result<Tensor> {
        let (a, b) = (a.as_ref(), b.as_ref());
        let invalid = |name: &str, message: String| {
            Err(Error::new(ErrorKind::InvalidInput, message).at(name))
        };
        for (name, shape) in [("a", a.shape()), ("b", b.shape())] {
            if shape.len() != 2 {
                return invalid(
                    name,
                    format!("found shape {shape:?}, expected 2 dimensions, [N, D]"),
                );
            }
        }
        let (found, expected) = (b.shape()[1], a.shape()[1]);
        if found != expected {
            return invalid("b", format!("found width {found}, expected that of a, {expected}"));
        }
        let (found, expected) = (b.device(), a.device());
        if found != expected {
            return invalid("b", format!("found {found}, expected the device of a, {expected}"));
        }
        let _entered = enter()?;
        let device = a.device();
        let on_host = |tensor: &Tensor| tensor.to_device(Device::Cpu)?.to_f32();
        let (a, b) = (on_host(a)?, on_host(b)?);
        let shape = [a.shape()[0], b.shape()[0]];
        let Some(count) = shape[0].checked_mul(shape[1]) else {
            return invalid("b", format!("found {} rows, too many for those of a", shape[1]));
        };
        let (a, b) = (Rows::of(&a)?, Rows::of(&b)?);
        let values = match self {
            Self::Cosine => {
                let (of_a, of_b) = (a.lengths()?, b.lengths()?);
                let mut values = products(&a, &b, count)?;
                for (row, values) in values.chunks_exact_mut(b.count.max(1)).enumerate() {
                    values
                        .iter_mut()
                        .zip(&of_b)
                        .for_each(|(value, of_b)| *value /= of_a[row] * of_b);
                }
                values
            }
            Self::Dot => products(&a, &b, count)?,
            Self::Euclidean => {
                pairs(&a, &b, count, |a, b| -sum(a, b, |a, b| (a - b) * (a - b)).sqrt())?
            }
            Self::Manhattan => pairs(&a, &b, count, |a, b| -sum(a, b, |a, b| (a - b).abs()))?,
        };
        Tensor::new(values, shape)?.to_device(device)
    }
}

/// With fewer rows than this, laying the others out for the kernel costs more than it saves.
const MIN_ROWS: usize = 16;
/// Rows that are laid out for the kernel at once.
const PACKED: usize = 2048;
/// Rows of each side that a thread takes at once.
const TAKEN: usize = 64;

/// The rows of a matrix.
struct Rows<'a> {
    values: &'a [f32],
    width: usize,
    count: usize,
}

impl<'a> Rows<'a> {
    fn of(tensor: &'a Tensor) -> Result<Self> {
        let (count, width) = (tensor.shape()[0], tensor.shape()[1]);
        Ok(Self { values: tensor.as_slice()?, width, count })
    }

    fn row(&self, row: usize) -> &'a [f32] {
        &self.values[row * self.width..][..self.width]
    }

    /// The length of each row; of a row of zeros a little more.
    fn lengths(&self) -> Result<Vec<f32>> {
        let length = |row| sum(self.row(row), self.row(row), |a, b| a * b).sqrt().max(1e-12);
        Ok(collect((0..self.count).map(length))?)
    }
}

/// `a bᵀ`, of so many values
fn products(a: &Rows<'_>, b: &Rows<'_>, count: usize) -> Result<Vec<f32>> {
    if a.count < MIN_ROWS || a.width == 0 {
        return pairs(a, b, count, |a, b| sum(a, b, |a, b| a * b));
    }
    let isa = Isa::best().map_err(|message| Error::new(ErrorKind::InvalidInput, message))?;
    let threads = CallThreads::take();
    let mut x = Matrix::<f32>::new(a.width);
    x.set_rows(a.count)?;
    for row in 0..a.count {
        x.row_mut(row).copy_from_slice(a.row(row));
    }
    let mut values = filled(count, 0.)?;
    for start in (0..b.count).step_by(PACKED) {
        let columns = start..b.count.min(start + PACKED);
        let bias = filled(columns.len(), 0.)?;
        let packed = &b.values[columns.start * b.width..columns.end * b.width];
        let packed = Linear::new(isa, b.width, &[(packed, &bias[..])])?;
        let mut found = Matrix::<f32>::new(columns.len());
        found.set_rows(a.count)?;
        packed.forward(&threads, x.all(), Then::Keep, found.all_mut())?;
        for (row, values) in values.chunks_exact_mut(b.count).enumerate() {
            values[columns.clone()].copy_from_slice(found.row(row));
        }
    }
    Ok(values)
}

/// What `of` makes of every two rows, of so many values.
fn pairs(
    a: &Rows<'_>,
    b: &Rows<'_>,
    count: usize,
    of: impl Fn(&[f32], &[f32]) -> f32 + Sync,
) -> Result<Vec<f32>> {
    let blocks = collect((0..b.count).step_by(TAKEN))?;
    let mut values = with_capacity(count)?;
    for start in (0..a.count).step_by(TAKEN) {
        let rows = start..a.count.min(start + TAKEN);
        let found = parallel::map(&blocks, |_, first| {
            let columns = *first..b.count.min(first + TAKEN);
            let mut found = with_capacity(rows.len() * columns.len())?;
            for row in rows.clone() {
                found.extend(columns.clone().map(|column| of(a.row(row), b.row(column))));
            }
            Ok::<_, OutOfMemory>(found)
        })?;
        let found = found.into_iter().collect::<Result<Vec<Vec<f32>>, _>>()?;
        for row in 0..rows.len() {
            for found in &found {
                let width = found.len() / rows.len();
                values.extend_from_slice(&found[row * width..][..width]);
            }
        }
    }
    Ok(values)
}

/// The sum of what `of` makes of every two values, in as many partial sums as vectors have
/// lanes.
fn sum(a: &[f32], b: &[f32], of: impl Fn(f32, f32) -> f32) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += of(*a, *b);
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(rows: usize, width: usize, seed: usize) -> Tensor {
        let value = |index: usize| ((index * 7919 + seed * 31) % 997) as f32 / 250. - 2.;
        Tensor::new((0..rows * width).map(value).collect::<Vec<_>>(), [rows, width]).unwrap()
    }

    fn expected(similarity: Similarity, a: &[f32], b: &[f32]) -> f64 {
        let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let dot: f64 = pairs().map(|(a, b)| a * b).sum();
        let length = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        match similarity {
            Similarity::Cosine => dot / (length(a).max(1e-12) * length(b).max(1e-12)),
            Similarity::Dot => dot,
            Similarity::Euclidean => -pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt(),
            Similarity::Manhattan => -pairs().map(|(a, b)| (a - b).abs()).sum::<f64>(),
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes long")]
    fn every_two_rows_are_compared() {
        let shapes = [(1, 1, 1), (3, 5, 15), (70, 130, 17), (17, 2_100, 8), (2, 1, 384), (5, 3, 0)];
        for (n, m, width) in shapes {
            let (a, b) = (tensor(n, width, 1), tensor(m, width, 2));
            for similarity in
                [Similarity::Cosine, Similarity::Dot, Similarity::Euclidean, Similarity::Manhattan]
            {
                let found = similarity.of(&a, &b).unwrap();
                assert_eq!(found.shape(), [n, m]);
                let (a, b) = (Rows::of(&a).unwrap(), Rows::of(&b).unwrap());
                for (index, found) in found.as_slice::<f32>().unwrap().iter().enumerate() {
                    let expected = expected(similarity, a.row(index / m), b.row(index % m));
                    let error = (f64::from(*found) - expected).abs();
                    assert!(
                        error <= 1e-5 * expected.abs().max(1.),
                        "{similarity:?} {n} {m} {width}"
                    );
                }
            }
        }
        for (n, m) in [(0, 3), (20, 0), (0, 0)] {
            let found = Similarity::Dot.of(tensor(n, 4, 1), tensor(m, 4, 1)).unwrap();
            assert_eq!(found.shape(), [n, m]);
        }
        let zeros = Tensor::new(vec![0_f32; 4], [1, 4]).unwrap();
        let found = Similarity::Cosine.of(&zeros, tensor(1, 4, 3)).unwrap();
        assert_eq!(found.as_slice::<f32>().unwrap(), [0.]);
        let many = Tensor::new(Vec::<f32>::new(), [1 << 33, 0]).unwrap();
        assert!(Similarity::Dot.of(&many, &many).is_err());
    }
}
