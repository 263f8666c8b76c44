//! The range of each dimension of embeddings.

use crate::error::{Error, ErrorKind, Result};
use crate::memory::{collect, copied};

/// The range of each dimension of embeddings, from its min to its max, by which they
/// become 8-bit integers. Those of a sample of a hundred embeddings or more suit others.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingRanges {
    /// `[2,D]`: all mins, then all maxs
    bounds: Vec<f32>,
}

impl EmbeddingRanges {
    /// Ranges `[2,D]`: the min of each dimension, then the max of each.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if there are none, an odd number, one that is not
    /// finite, or a min above its max.
    pub fn new(bounds: &[f32]) -> Result<Self> {
        let dim = bounds.len() / 2;
        let invalid = |message| Err(Error::new(ErrorKind::InvalidInput, message).at("ranges"));
        if dim == 0 || bounds.len() != 2 * dim {
            return invalid(format!("found {} numbers, expected [2, D]", bounds.len()));
        }
        if let Some(index) = bounds.iter().position(|bound| !bound.is_finite()) {
            let (found, row, column) = (bounds[index], index / dim, index % dim);
            return invalid(format!("found {found} at [{row}, {column}], expected it finite"));
        }
        if let Some(column) = (0..dim).find(|column| bounds[*column] > bounds[dim + column]) {
            let (min, max) = (bounds[column], bounds[dim + column]);
            return invalid(format!(
                "found {min} to {max} in dimension {column}, expected min to max"
            ));
        }
        Ok(Self { bounds: copied(bounds)? })
    }

    /// The ranges of embeddings of `dim` dimensions, row after row.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if there are none, or numbers among them that are not
    /// finite.
    pub fn of(embeddings: &[f32], dim: usize) -> Result<Self> {
        if embeddings.is_empty() || dim == 0 || !embeddings.len().is_multiple_of(dim) {
            let found = embeddings.len();
            let message = format!("found {found} values, expected at least one row of {dim}");
            return Err(Error::new(ErrorKind::InvalidInput, message).at("embeddings"));
        }
        if let Some(index) = embeddings.iter().position(|value| !value.is_finite()) {
            let (found, row, column) = (embeddings[index], index / dim, index % dim);
            let message = format!("found {found} at [{row}, {column}], expected it finite");
            return Err(Error::new(ErrorKind::InvalidInput, message).at("embeddings"));
        }
        let first = &embeddings[..dim];
        let mut ranges = Self { bounds: collect(first.iter().chain(first).copied())? };
        embeddings.chunks_exact(dim).for_each(|row| ranges.widen(row, row));
        Ok(ranges)
    }

    /// Widens the ranges to hold others, too.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for ranges of another dimension.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let (found, expected) = (other.dim(), self.dim());
        if found != expected {
            let message = format!("found those of {found}, expected {expected} dimensions");
            return Err(Error::new(ErrorKind::InvalidInput, message).at("ranges"));
        }
        self.widen(other.min(), other.max());
        Ok(())
    }

    fn widen(&mut self, mins: &[f32], maxs: &[f32]) {
        let dim = self.dim();
        let (of_min, of_max) = self.bounds.split_at_mut(dim);
        of_min.iter_mut().zip(mins).for_each(|(bound, value)| *bound = bound.min(*value));
        of_max.iter_mut().zip(maxs).for_each(|(bound, value)| *bound = bound.max(*value));
    }

    /// The number of dimensions, `D`.
    pub fn dim(&self) -> usize {
        self.bounds.len() / 2
    }

    /// The min of each dimension.
    pub fn min(&self) -> &[f32] {
        &self.bounds[..self.dim()]
    }

    /// The max of each dimension.
    pub fn max(&self) -> &[f32] {
        &self.bounds[self.dim()..]
    }

    /// `[2,D]`: all mins, then all maxs.
    pub fn as_slice(&self) -> &[f32] {
        &self.bounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_every_row() {
        let mut ranges = EmbeddingRanges::of(&[1., -2., 0., 4., 3., -9.], 2).unwrap();
        assert_eq!(ranges.as_slice(), [0., -9., 3., 4.]);
        ranges.merge(&EmbeddingRanges::of(&[-1., 5.], 2).unwrap()).unwrap();
        assert_eq!((ranges.min(), ranges.max()), (&[-1., -9.][..], &[3., 5.][..]));
        assert_eq!(EmbeddingRanges::new(ranges.as_slice()).unwrap(), ranges);
        assert!(ranges.merge(&EmbeddingRanges::of(&[1.], 1).unwrap()).is_err());
    }

    #[test]
    fn what_is_no_range_is_refused() {
        let error = |bounds: &[f32]| EmbeddingRanges::new(bounds).unwrap_err().to_string();
        assert_eq!(error(&[]), "ranges: found 0 numbers, expected [2, D]");
        assert_eq!(error(&[1., 2., 3.]), "ranges: found 3 numbers, expected [2, D]");
        assert_eq!(
            error(&[1., 2., 3., f32::NAN]),
            "ranges: found NaN at [1, 1], expected it finite"
        );
        assert_eq!(
            error(&[0., 2., 3., 1.]),
            "ranges: found 2 to 1 in dimension 1, expected min to max"
        );
        let error = |values: &[f32], dim| EmbeddingRanges::of(values, dim).unwrap_err().to_string();
        assert_eq!(error(&[], 2), "embeddings: found 0 values, expected at least one row of 2");
        assert!(EmbeddingRanges::of(&[1.; 3], 2).is_err());
        assert!(EmbeddingRanges::of(&[1.], 0).is_err());
        assert_eq!(
            error(&[0., 1., f32::INFINITY, 1.], 2),
            "embeddings: found inf at [1, 0], expected it finite"
        );
    }
}
