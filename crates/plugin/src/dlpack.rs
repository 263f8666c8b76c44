//! Tensors of other libraries, and for them: DLPack 1.
//!
//! <https://dmlc.github.io/dlpack/latest/c_api.html>

use std::ffi::c_void;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;

/// The major version of the structure that is read and written.
const MAJOR: u32 = 1;
/// Nobody may write to the memory.
const READ_ONLY: u64 = 1;

const CPU: i32 = 1;
const CUDA: i32 = 2;
/// Memory of the host that a CUDA device reads, too.
const CUDA_HOST: i32 = 3;

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

/// Memory of the host that whoever gives it knows how to end.
pub type Memory = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// What is wrong with a tensor of another library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

/// A contiguous tensor, row-major, that is owned, and that nobody writes to.
#[derive(Debug)]
pub struct ManagedTensor {
    raw: NonNull<DLManagedTensorVersioned>,
    shape: Vec<usize>,
    place: Place,
}

// SAFETY: nobody writes to the memory, by the contract of `from_raw`, by which the deleter may
// be called on any thread, too.
unsafe impl Send for ManagedTensor {}
// SAFETY: as above.
unsafe impl Sync for ManagedTensor {}

impl ManagedTensor {
    /// Takes a tensor. On failure it stays the caller's.
    ///
    /// # Errors
    /// With what was found, of another version of DLPack, a device that is neither the host nor
    /// of CUDA, and elements that are not one after the other, row-major.
    ///
    /// # Safety
    /// The pointer is to a live structure, which nobody else frees. Its memory holds every
    /// element that the shape reaches, and nobody writes to it. The deleter may be called on any
    /// thread.
    pub unsafe fn from_raw(raw: NonNull<DLManagedTensorVersioned>) -> Result<Self, Malformed> {
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
            (CUDA, Ok(index)) => Place::Cuda(index),
            (found, _) => {
                return refused(format!("device_type: found {found}, expected {CPU} or {CUDA}"));
            }
        };
        if tensor.data_type.lanes != 1 {
            return refused(format!("lanes: found {}, expected 1", tensor.data_type.lanes));
        }
        let ndim = usize::try_from(tensor.ndim)
            .map_err(|_| Malformed(format!("ndim: found {}, expected at least 0", tensor.ndim)))?;
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
        let shape = sizes.iter().map(|size| usize::try_from(*size));
        let shape: Vec<_> = shape
            .collect::<Result<_, _>>()
            .map_err(|_| Malformed(format!("shape: found {sizes:?}, expected none below 0")))?;
        let size = usize::from(tensor.data_type.bits).div_ceil(8);
        let bytes = shape.iter().try_fold(size, |all, size| all.checked_mul(*size));
        let bytes = bytes.filter(|bytes| isize::try_from(*bytes).is_ok());
        match bytes {
            None => return refused(format!("shape: found {sizes:?}, beyond what is addressable")),
            Some(0) => {}
            Some(_) if tensor.data.is_null() => return refused("data: found NULL".to_owned()),
            Some(_) => {}
        }
        if let Some(strides) = strides.filter(|strides| !is_contiguous(sizes, strides)) {
            return refused(format!(
                "strides: found {strides:?} for the shape {sizes:?}, expected row-major order"
            ));
        }
        Ok(Self { raw, shape, place })
    }

    /// As [`Self::from_raw`], of a tensor that is given away: what is refused is ended.
    ///
    /// # Errors
    /// Those of [`Self::from_raw`].
    ///
    /// # Safety
    /// That of [`Self::from_raw`].
    pub unsafe fn take(raw: NonNull<DLManagedTensorVersioned>) -> Result<Self, Malformed> {
        // SAFETY: by the contract of this function. Of another version, where the deleter is
        // is not known.
        unsafe {
            Self::from_raw(raw).inspect_err(|_| {
                if (*raw.as_ptr()).version.major == MAJOR
                    && let Some(deleter) = (*raw.as_ptr()).deleter
                {
                    deleter(raw.as_ptr());
                }
            })
        }
    }

    /// Gives the tensor away; whoever takes it calls its deleter.
    pub fn into_raw(self) -> NonNull<DLManagedTensorVersioned> {
        let mut given = ManuallyDrop::new(self);
        drop(std::mem::take(&mut given.shape));
        given.raw
    }

    /// A tensor over memory of the host.
    ///
    /// # Errors
    /// If the memory is not as large as the shape says.
    pub fn over(memory: Memory, data_type: DataType, shape: &[usize]) -> Result<Self, Malformed> {
        let size = usize::from(data_type.bits).div_ceil(8);
        let expected = shape.iter().try_fold(size, |all, size| all.checked_mul(*size));
        if let Some(large) = shape.iter().find(|size| i64::try_from(**size).is_err()) {
            return Err(Malformed(format!("shape: found {large}, beyond what is addressable")));
        }
        let bytes = (*memory).as_ref();
        if expected != Some(bytes.len()) {
            let found = bytes.len();
            return Err(Malformed(format!("found {found} bytes, expected those of {shape:?}")));
        }
        let data = match bytes.is_empty() {
            true => std::ptr::null_mut(),
            false => bytes.as_ptr().cast_mut().cast(),
        };
        Ok(Self::new(memory, data, (CPU, 0), data_type, shape))
    }

    /// Another tensor over the same memory, which it shares.
    pub fn share(self: &Arc<Self>) -> Self {
        // SAFETY: the structure lives as long as `self`.
        let tensor = unsafe { &self.raw.as_ref().tensor };
        let data = tensor.data.wrapping_byte_add(tensor.byte_offset as usize);
        let device = (tensor.device_type, tensor.device_id);
        Self::new(Arc::<Self>::clone(self), data, device, tensor.data_type, &self.shape)
    }

    fn new(
        memory: Memory,
        data: *mut c_void,
        (device_type, device_id): (i32, i32),
        data_type: DataType,
        shape: &[usize],
    ) -> Self {
        let place = match device_type {
            CUDA => Place::Cuda(device_id as usize),
            _ => Place::Host,
        };
        // A shape has no more dimensions than an i32 counts.
        let ndim = shape.len() as i32;
        let sizes: Box<[i64]> = shape.iter().map(|size| *size as i64).collect();
        let strides: Box<[i64]> = row_major(&sizes).collect();
        // Pointers into it hold where it stays.
        let context = Box::leak(Box::new(Context { _memory: memory, sizes, strides }));
        let tensor = DLTensor {
            data,
            device_type,
            device_id,
            ndim,
            data_type,
            shape: context.sizes.as_mut_ptr(),
            strides: context.strides.as_mut_ptr(),
            byte_offset: 0,
        };
        let managed = Box::new(DLManagedTensorVersioned {
            version: Version { major: MAJOR, minor: 1 },
            manager_ctx: std::ptr::from_mut(context).cast(),
            deleter: Some(delete),
            flags: READ_ONLY,
            tensor,
        });
        Self { raw: NonNull::from(Box::leak(managed)), shape: shape.to_vec(), place }
    }

    /// The size of each dimension.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The type of the elements.
    pub fn data_type(&self) -> DataType {
        // SAFETY: the structure lives as long as `self`.
        unsafe { self.raw.as_ref().tensor.data_type }
    }

    /// Where the memory is.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The address of the first element.
    pub fn address(&self) -> usize {
        // SAFETY: the structure lives as long as `self`.
        let tensor = unsafe { &self.raw.as_ref().tensor };
        tensor.data.addr() + tensor.byte_offset as usize
    }
}

impl Drop for ManagedTensor {
    fn drop(&mut self) {
        // SAFETY: the structure is this one's, and given back once.
        unsafe {
            if let Some(deleter) = self.raw.as_ref().deleter {
                deleter(self.raw.as_ptr());
            }
        }
    }
}

/// The bytes of the elements; none of those that are not in the host's memory.
impl AsRef<[u8]> for ManagedTensor {
    fn as_ref(&self) -> &[u8] {
        let size = usize::from(self.data_type().bits).div_ceil(8);
        let length = self.shape.iter().product::<usize>() * size;
        if length == 0 || self.place != Place::Host {
            return &[];
        }
        // SAFETY: so many bytes are there, as was checked when this was made, as long as `self`.
        unsafe {
            let tensor = &self.raw.as_ref().tensor;
            let data = tensor.data.byte_add(tensor.byte_offset as usize);
            std::slice::from_raw_parts(data.cast::<u8>(), length)
        }
    }
}

/// What a tensor of this library's keeps until its end.
struct Context {
    _memory: Memory,
    sizes: Box<[i64]>,
    strides: Box<[i64]>,
}

/// Frees a tensor of [`ManagedTensor::new`].
unsafe extern "C" fn delete(managed: *mut DLManagedTensorVersioned) {
    // SAFETY: both boxes are those of `new`, and given back once.
    unsafe {
        let managed = Box::from_raw(managed);
        drop(Box::from_raw(managed.manager_ctx.cast::<Context>()));
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
fn row_major(sizes: &[i64]) -> impl Iterator<Item = i64> {
    let after = |dimension: usize| sizes[dimension + 1..].iter().map(|size| (*size).max(1));
    (0..sizes.len()).map(move |dimension| after(dimension).fold(1, i64::saturating_mul))
}

/// Whether elements are one after the other, row-major.
fn is_contiguous(sizes: &[i64], strides: &[i64]) -> bool {
    let mut each = sizes.iter().zip(strides).zip(row_major(sizes));
    // The stride of a single element is of no account.
    sizes.contains(&0) || each.all(|((size, found), stride)| *size == 1 || *found == stride)
}

#[cfg(test)]
mod tests;
