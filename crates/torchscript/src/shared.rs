//! A tensor that threads read together.

use crate::error::{Error, ErrorKind, Result};
use tch::{Device, Tensor};

/// A tensor that nothing writes to.
#[derive(Debug)]
pub struct SharedTensor(Tensor);

// SAFETY: a handle to a tensor only counts references, atomically; and reading
// the same values from several threads is no race, since whoever made this gave
// up the tensor.
unsafe impl Sync for SharedTensor {}

impl SharedTensor {
    /// Takes a tensor, of which no other handle may write.
    pub fn new(tensor: Tensor) -> Self {
        Self(tensor)
    }

    /// A handle to the tensor, to read from.
    pub fn get(&self) -> Tensor {
        self.0.shallow_clone()
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        self.0.device()
    }

    /// The memory of a contiguous tensor on the CPU.
    ///
    /// # Errors
    /// [`ErrorKind::Type`] if it is another.
    pub fn into_bytes(self) -> Result<TensorBytes> {
        let tensor = &self.0;
        if tensor.device() != Device::Cpu || !tensor.is_contiguous() {
            let message = format!("found {tensor:?}, expected a contiguous tensor on the CPU");
            return Err(Error::new(ErrorKind::Type, message));
        }
        Ok(TensorBytes(self))
    }
}

/// The memory of a contiguous tensor on the CPU.
#[derive(Debug)]
pub struct TensorBytes(SharedTensor);

impl AsRef<[u8]> for TensorBytes {
    fn as_ref(&self) -> &[u8] {
        let tensor = &self.0.0;
        let bytes = tensor.numel() * tensor.kind().elt_size_in_bytes();
        if bytes == 0 {
            return &[];
        }
        // SAFETY: so many bytes lie there, as was checked when this was made, as long as
        // `self`, and nobody writes to them.
        unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<u8>(), bytes) }
    }
}
