//! Tensors of other libraries, and for them: DLPack 1.
//!
//! <https://dmlc.github.io/dlpack/latest/c_api.html>

mod managed;
mod strided;

pub use managed::{ManagedTensor, Memory};
pub use strided::StridedTensor;

use std::ffi::c_void;
use std::fmt;
use std::ptr::NonNull;

/// The major version of the structure that is read and written.
const MAJOR: u32 = 1;
/// No tensor of more dimensions is of use here.
pub const MAX_DIMENSIONS: usize = 64;
/// Nobody may write to the memory.
const READ_ONLY: u64 = 1;

const CPU: i32 = 1;
const CUDA: i32 = 2;
/// Memory of the host that a CUDA device reads, too.
const CUDA_HOST: i32 = 3;
/// Memory that both have.
const CUDA_MANAGED: i32 = 13;

/// A tensor and its owner, as `dlpack.h` declares it.
#[repr(C)]
#[derive(Debug)]
pub struct DLManagedTensorVersioned {
    version: Version,
    manager_ctx: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Self)>,
    flags: u64,
    tensor: DLTensor,
}

#[repr(C)]
#[derive(Debug)]
struct Version {
    major: u32,
    minor: u32,
}

#[repr(C)]
#[derive(Debug)]
struct DLTensor {
    data: *mut c_void,
    device_type: i32,
    device_id: i32,
    ndim: i32,
    data_type: DataType,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

/// The type of elements.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataType {
    /// 0 for signed integers, 1 for unsigned ones, 2 for floating-point numbers, 4 for bfloat16,
    /// 6 for bool.
    pub code: u8,
    /// The bits of an element.
    pub bits: u8,
    /// 1 but for vectors.
    pub lanes: u16,
}

/// Where memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the host's memory.
    Host,
    /// On the CUDA device of this number.
    Cuda(usize),
}

/// What is wrong with a tensor of another library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

/// What memory lives as long as.
pub type Owner = Box<dyn Send + Sync>;

/// Where the elements of a tensor are.
#[derive(Debug, Clone)]
struct Layout {
    /// The first element.
    data: *mut c_void,
    place: Place,
    data_type: DataType,
    shape: Vec<usize>,
    /// How many elements lie between two of each dimension.
    strides: Vec<usize>,
}

impl Layout {
    /// That of a structure.
    ///
    /// # Safety
    /// The structure is live.
    unsafe fn of(raw: NonNull<DLManagedTensorVersioned>) -> Result<Self, Malformed> {
        let refused = |message: String| Err(Malformed(message));
        // SAFETY: by the contract of this function. Of another version, nothing but the first
        // field is read.
        let major = unsafe { (*raw.as_ptr()).version.major };
        if major != MAJOR {
            return refused(format!("found DLPack {major}, expected {MAJOR}"));
        }
        // SAFETY: as above.
        let tensor = unsafe { &(*raw.as_ptr()).tensor };
        let place = match (tensor.device_type, usize::try_from(tensor.device_id)) {
            (CPU | CUDA_HOST, _) => Place::Host,
            (CUDA | CUDA_MANAGED, Ok(index)) => Place::Cuda(index),
            (CUDA | CUDA_MANAGED, Err(_)) => {
                return refused(format!("device: found cuda:{}", tensor.device_id));
            }
            (found, _) => {
                return refused(format!("device: found type {found}, expected CPU or CUDA"));
            }
        };
        if tensor.data_type.lanes != 1 {
            return refused(format!("lanes: found {}, expected 1", tensor.data_type.lanes));
        }
        let ndim = usize::try_from(tensor.ndim).ok().filter(|ndim| *ndim <= MAX_DIMENSIONS);
        let ndim = ndim.ok_or_else(|| {
            Malformed(format!("ndim: found {}, expected 0 to {MAX_DIMENSIONS}", tensor.ndim))
        })?;
        if ndim > 0 && tensor.shape.is_null() {
            return refused("shape: found NULL".to_owned());
        }
        // SAFETY: as above: there are `ndim` of both, where they are not NULL.
        let (sizes, strides) = unsafe {
            (
                slice(tensor.shape, ndim),
                (!tensor.strides.is_null()).then(|| slice(tensor.strides, ndim)),
            )
        };
        let data = tensor.data.wrapping_byte_add(tensor.byte_offset as usize);
        let layout = Self::new(data, place, tensor.data_type, sizes, strides)?;
        match tensor.data.is_null() && !layout.shape.contains(&0) {
            true => refused("data: found NULL".to_owned()),
            false => Ok(layout),
        }
    }

    fn new(
        data: *mut c_void,
        place: Place,
        data_type: DataType,
        sizes: &[i64],
        strides: Option<&[i64]>,
    ) -> Result<Self, Malformed> {
        let unsigned = |what: &str, values: &[i64]| -> Result<Vec<usize>, Malformed> {
            let unsigned = values.iter().map(|value| {
                usize::try_from(*value)
                    .map_err(|_| Malformed(format!("{what} {value}, expected none below 0")))
            });
            unsigned.collect()
        };
        let shape = unsigned("shape: found a size of", sizes)?;
        let strides = match strides {
            None => row_major(&shape),
            Some(strides) => unsigned("strides: found", strides)?,
        };
        let layout = Self { data, place, data_type, shape, strides };
        let bytes = |elements: Option<usize>| {
            elements?.checked_mul(layout.size()).filter(|bytes| isize::try_from(*bytes).is_ok())
        };
        let count = layout.shape.iter().try_fold(1, |all: usize, size| all.checked_mul(*size));
        if bytes(count).is_none() || bytes(layout.reach()).is_none() {
            return Err(Malformed(format!("shape: found {sizes:?}, which no memory holds")));
        }
        Ok(layout)
    }

    /// The bytes of an element.
    fn size(&self) -> usize {
        usize::from(self.data_type.bits).div_ceil(8)
    }

    /// How many elements lie from the first to the last.
    fn reach(&self) -> Option<usize> {
        if self.shape.contains(&0) {
            return Some(0);
        }
        self.shape.iter().zip(&self.strides).try_fold(1_usize, |reach, (size, stride)| {
            reach.checked_add((size - 1).checked_mul(*stride)?)
        })
    }

    /// Whether elements are one after the other, row-major.
    fn is_row_major(&self) -> bool {
        let dense = row_major(&self.shape);
        let mut each = self.shape.iter().zip(&self.strides).zip(dense);
        // The stride of a single element is of no account.
        self.shape.contains(&0)
            || each.all(|((size, found), stride)| *size == 1 || *found == stride)
    }
}

/// # Safety
/// `first` is to `count` live elements, if there are some.
unsafe fn slice<'a>(first: *const i64, count: usize) -> &'a [i64] {
    match count {
        0 => &[],
        // SAFETY: by the contract of this function.
        _ => unsafe { std::slice::from_raw_parts(first, count) },
    }
}

/// The strides of row-major order.
fn row_major(shape: &[usize]) -> Vec<usize> {
    let after = |dimension: usize| shape[dimension + 1..].iter().map(|size| (*size).max(1));
    (0..shape.len()).map(|dimension| after(dimension).fold(1, usize::saturating_mul)).collect()
}

#[cfg(test)]
mod tests;
