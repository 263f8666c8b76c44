//! Outputs of a batch, a row for each token or each sequence.

use crate::archive::OutputInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::family::Dim;
use bertscript_kernels::Matrix;

/// Rows `[R,W]` of an output.
pub(crate) enum BatchOutput {
    /// In memory.
    Host(Matrix<f32>),
    /// On a device, or on the way from it.
    #[cfg(feature = "torch")]
    Tensor(tch::Tensor),
}

impl BatchOutput {
    /// The rows in memory. Waits for what is computed on a device; for what is on the way
    /// from it, the caller has waited.
    pub(crate) fn into_matrix(self) -> Result<Matrix<f32>> {
        match self {
            Self::Host(matrix) => Ok(matrix),
            #[cfg(feature = "torch")]
            Self::Tensor(tensor) => super::tensors::matrix(&tensor),
        }
    }
}

/// The sizes of an output for inputs of a shape.
pub(super) fn sizes(info: &OutputInfo, shape: &[usize]) -> Result<Vec<usize>> {
    let sizes = info.shape.iter().map(|symbol| {
        Ok(match symbol.parse()? {
            Dim::Batch => shape[0],
            Dim::BatchChoice => shape.iter().rev().skip(1).product(),
            Dim::Choice => shape[1],
            Dim::Sequence => shape.last().copied().unwrap_or(0),
            Dim::Fixed(size) => usize::try_from(size).map_err(|_| {
                let message = format!("{}: found the size {size}, expected at least 0", info.name);
                Error::new(ErrorKind::Archive, message)
            })?,
        })
    });
    sizes.collect()
}
