//! Rows of which few values are not zero.

use crate::error::{Error, ErrorKind, Result};
use crate::memory::{collect, reserve};

/// Rows `[N,V]` in CSR form: of each, the values that are not zero and their indices,
/// ascending.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SparseRows {
    width: usize,
    /// Where the values of each row begin, and how many there are: `[N+1]`
    offsets: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl SparseRows {
    /// No rows, of `width` values each.
    pub(crate) fn new(width: usize) -> Result<Self> {
        if u32::try_from(width).is_err() {
            let message = format!("found a width of {width}, expected at most {}", u32::MAX);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let offsets = collect(std::iter::once(0))?;
        Ok(Self { width, offsets, indices: Vec::new(), values: Vec::new() })
    }

    /// Appends a row, whose values are in `dense`; of more than `max_active` that are not zero
    /// those that are largest in magnitude, and of equal ones those of the lower indices. NaN is
    /// larger than any number.
    pub(crate) fn push(&mut self, dense: &[f32], max_active: Option<usize>) -> Result<()> {
        let active = dense.iter().filter(|value| **value != 0.).count();
        let mut indices = Vec::new();
        reserve(&mut indices, active)?;
        indices.extend((0..self.width as u32).filter(|index| dense[*index as usize] != 0.));
        if let Some(count) = max_active.filter(|count| *count < active) {
            let magnitude = |index: &u32| dense[*index as usize].abs();
            indices.select_nth_unstable_by(count, |a, b| {
                magnitude(b).total_cmp(&magnitude(a)).then(a.cmp(b))
            });
            indices.truncate(count);
            indices.sort_unstable();
        }
        reserve(&mut self.offsets, 1)?;
        reserve(&mut self.indices, indices.len())?;
        reserve(&mut self.values, indices.len())?;
        self.values.extend(indices.iter().map(|index| dense[*index as usize]));
        self.indices.append(&mut indices);
        self.offsets.push(self.indices.len());
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    pub(crate) fn indices(&self) -> &[u32] {
        &self.indices
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    /// The indices and the values of a row.
    ///
    /// # Panics
    /// If there are not so many.
    pub(crate) fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let range = self.offsets[row]..self.offsets[row + 1];
        (&self.indices[range.clone()], &self.values[range])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_kept_and_of_equal_ones_the_first() {
        let kept = |dense: &[f32], count| {
            let mut rows = SparseRows::new(dense.len()).unwrap();
            rows.push(dense, Some(count)).unwrap();
            rows.indices
        };
        let dense = [1., 0., 3., 1., -2., 1.];
        assert_eq!(kept(&dense, 9), [0, 2, 3, 4, 5]);
        assert_eq!(kept(&dense, 5), [0, 2, 3, 4, 5]);
        assert_eq!(kept(&dense, 3), [0, 2, 4]);
        assert_eq!(kept(&dense, 4), [0, 2, 3, 4]);
        assert_eq!(kept(&dense, 1), [2]);
        assert_eq!(kept(&[1., f32::INFINITY, -f32::NAN], 1), [2]);
    }
}
