//! A tensor that threads read together.

use crate::dtype::dtype_name;
use crate::error::{Error, ErrorKind, Result};
use tch::{Device, Kind, Tensor};

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
        self.check(self.0.kind())?;
        Ok(TensorBytes(self))
    }

    /// The values of a contiguous tensor of float32 on the CPU.
    ///
    /// # Errors
    /// [`ErrorKind::Type`] if it is another.
    pub fn as_f32(&self) -> Result<&[f32]> {
        self.values(Kind::Float)
    }

    /// The bits of the values of a contiguous tensor of bfloat16 on the CPU.
    ///
    /// # Errors
    /// [`ErrorKind::Type`] if it is another.
    pub fn as_bf16(&self) -> Result<&[u16]> {
        self.values(Kind::BFloat16)
    }

    /// `T` has the size of the dtype's values, and every pattern of bits is one.
    fn values<T>(&self, kind: Kind) -> Result<&[T]> {
        self.check(kind)?;
        let tensor = &self.0;
        if tensor.numel() == 0 {
            return Ok(&[]);
        }
        // SAFETY: so many values of this size lie there, as long as `self`, and
        // nobody writes to them.
        Ok(unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<T>(), tensor.numel()) })
    }

    fn check(&self, kind: Kind) -> Result<()> {
        let tensor = &self.0;
        if tensor.kind() == kind && tensor.device() == Device::Cpu && tensor.is_contiguous() {
            return Ok(());
        }
        let message = format!(
            "found a tensor of {}, expected a contiguous one of {} on the CPU",
            dtype_name(tensor.kind()),
            dtype_name(kind)
        );
        Err(Error::new(ErrorKind::Type, message))
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
