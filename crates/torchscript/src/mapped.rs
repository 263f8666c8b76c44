//! Tensors in a mapped file.

use crate::error::{Error, ErrorKind, Result, check};
use crate::ffi::{self, TsMapped};
use std::fs::File;
use std::os::fd::AsRawFd;
use tch::{Kind, Tensor};

/// A file mapped into memory, from which tensors are taken without a copy.
///
/// Each tensor has a storage of its own that keeps the mapping alive. Writing
/// to one changes memory only, never the file; nothing writes to one while the bytes are
/// read ([`Self::bytes`]). The file must not be truncated
/// while the mapping lives: the system would end the process on the next read.
#[derive(Debug)]
pub struct MappedFile {
    raw: *mut TsMapped,
    length: usize,
}

// SAFETY: the mapping is immutable memory behind an atomic reference count.
unsafe impl Send for MappedFile {}
// SAFETY: as above; no method writes.
unsafe impl Sync for MappedFile {}

impl MappedFile {
    /// Maps the whole file.
    pub fn new(file: &File) -> Result<Self> {
        let length = file
            .metadata()
            .map_err(|error| Error::new(ErrorKind::Io, error.to_string()))
            .map(|metadata| metadata.len())?;
        let length = usize::try_from(length).map_err(|_| {
            Error::new(ErrorKind::OutOfMemory, "the file exceeds the address space")
        })?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: the descriptor is open for the call; the mapping outlives it.
        check(unsafe { ffi::ts_mapped_open(file.as_raw_fd(), length, &mut raw) })?;
        Ok(Self { raw, length })
    }

    /// A copy of the bytes of a file, instead of a mapping of it.
    pub fn copy(bytes: &[u8]) -> Result<Self> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: the bytes are live for the call, which copies them.
        check(unsafe { ffi::ts_mapped_copy(bytes.as_ptr().cast(), bytes.len(), &mut raw) })?;
        Ok(Self { raw, length: bytes.len() })
    }

    /// The contiguous tensor that starts at byte `offset`. Data that is not
    /// aligned for its dtype is copied.
    pub fn tensor(&self, offset: usize, shape: &[i64], kind: Kind) -> Result<Tensor> {
        let dtype = scalar_type(kind)?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: the shape is live for the call; the shim checks the bounds.
        check(unsafe {
            ffi::ts_mapped_tensor(self.raw, offset, shape.as_ptr(), shape.len(), dtype, &mut raw)
        })?;
        // SAFETY: the shim gives the tensor away.
        Ok(unsafe { Tensor::from_ptr(raw) })
    }
}

impl MappedFile {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        if self.length == 0 {
            return &[];
        }
        // SAFETY: so many bytes are mapped as long as `self` lives. Tensors of them are
        // not written to, by the contract of `tensor`.
        unsafe {
            std::slice::from_raw_parts(ffi::ts_mapped_data(self.raw).cast::<u8>(), self.length)
        }
    }

    /// Drops the pages of a file that are in memory; those that are read again come
    /// back. What was written to a tensor of the file is lost.
    pub fn release(&self) {
        // SAFETY: `self.raw` is live; what is in the pages is what the file has.
        unsafe { ffi::ts_mapped_release(self.raw) };
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        // SAFETY: owned, and freed once; tensors hold their own reference.
        unsafe { ffi::ts_mapped_free(self.raw) };
    }
}

/// libtorch's number of a dtype (`c10::ScalarType`).
pub(crate) fn scalar_type(kind: Kind) -> Result<i32> {
    Ok(match kind {
        Kind::Uint8 => 0,
        Kind::Int8 => 1,
        Kind::Int16 => 2,
        Kind::Int => 3,
        Kind::Int64 => 4,
        Kind::Half => 5,
        Kind::Float => 6,
        Kind::Double => 7,
        Kind::Bool => 11,
        Kind::BFloat16 => 15,
        other => {
            let message = format!("tensors of dtype {} are not supported", dtype_name(other));
            return Err(Error::new(ErrorKind::Type, message));
        }
    })
}

/// torch's name of a dtype, such as `float32`.
pub fn dtype_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Uint8 => "uint8",
        Kind::Int8 => "int8",
        Kind::Int16 => "int16",
        Kind::Int => "int32",
        Kind::Int64 => "int64",
        Kind::Half => "float16",
        Kind::Float => "float32",
        Kind::Double => "float64",
        Kind::ComplexHalf => "complex32",
        Kind::ComplexFloat => "complex64",
        Kind::ComplexDouble => "complex128",
        Kind::Bool => "bool",
        Kind::QInt8 => "qint8",
        Kind::QUInt8 => "quint8",
        Kind::QInt32 => "qint32",
        Kind::BFloat16 => "bfloat16",
        Kind::Float8e5m2 => "float8_e5m2",
        Kind::Float8e4m3fn => "float8_e4m3fn",
        Kind::Float8e5m2fnuz => "float8_e5m2fnuz",
        Kind::Float8e4m3fnuz => "float8_e4m3fnuz",
    }
}
