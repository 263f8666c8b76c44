//! Outputs of a batch, a row for each token or each sequence.

use crate::archive::OutputInfo;
use crate::device::Device;
use crate::error::{Error, ErrorKind, Result};
use crate::family::Dim;
#[cfg(feature = "torch")]
use crate::memory::with_capacity;
use crate::tensor::Tensor;
use bertscript_kernels::Matrix;

/// Rows `[R,W]` of an output.
pub(crate) enum BatchOutput {
    /// In memory.
    Host(Matrix<f32>),
    /// On a device, or on the way from it.
    Tensor(Tensor),
}

impl BatchOutput {
    /// The rows in memory. Waits for what is computed on a device; for what is on the way
    /// from it, the caller has waited.
    pub(crate) fn into_matrix(self) -> Result<Matrix<f32>> {
        match self {
            Self::Host(matrix) => Ok(matrix),
            Self::Tensor(tensor) => matrix(&tensor),
        }
    }
}

#[cfg(feature = "torch")]
impl BatchOutput {
    /// The rows as a tensor, where they are.
    pub(crate) fn into_tensor(self) -> Result<Tensor> {
        let matrix = match self {
            Self::Host(matrix) => matrix,
            Self::Tensor(tensor) => return Ok(tensor),
        };
        let shape = [matrix.len(), matrix.width()];
        let mut values = with_capacity(shape.iter().product())?;
        (0..shape[0]).for_each(|row| values.extend_from_slice(matrix.row(row)));
        Tensor::new(values, shape)
    }
}

/// The rows of a tensor `[R,..]` in memory.
fn matrix(tensor: &Tensor) -> Result<Matrix<f32>> {
    let rows = tensor.shape().first().copied().unwrap_or(1);
    let width = tensor.numel() / rows.max(1);
    let tensor = tensor.to_device(Device::Cpu)?.to_f32()?;
    let mut matrix = Matrix::new(width);
    matrix.set_rows(rows)?;
    for (row, values) in tensor.as_slice::<f32>()?.chunks_exact(width.max(1)).enumerate() {
        matrix.row_mut(row).copy_from_slice(values);
    }
    Ok(matrix)
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
