//! Tensors that cross the boundary.

use super::{
    CPU, CUDA, CUDA_MANAGED, DLManagedTensorVersioned, DLTensor, DataType, Layout, MAJOR,
    Malformed, Owner, Place, READ_ONLY, Version,
};
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;

/// Memory of the host that whoever gives it knows how to end.
pub type Memory = Arc<dyn AsRef<[u8]> + Send + Sync>;

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
        // SAFETY: by the contract of this function.
        let layout = unsafe { Layout::of(raw) }?;
        if !layout.is_row_major() {
            let Layout { shape, strides, .. } = layout;
            return Err(Malformed(format!(
                "strides: found {strides:?} for the shape {shape:?}, expected row-major order"
            )));
        }
        Ok(Self { raw, shape: layout.shape, place: layout.place })
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
        Ok(Self::new(Box::new(memory), data, (CPU, 0), data_type, shape))
    }

    /// Another tensor over the same memory, which it shares.
    pub fn share(self: &Arc<Self>) -> Self {
        // SAFETY: the structure lives as long as `self`.
        let tensor = unsafe { &self.raw.as_ref().tensor };
        let data = tensor.data.wrapping_byte_add(tensor.byte_offset as usize);
        let device = (tensor.device_type, tensor.device_id);
        Self::new(Box::new(Arc::clone(self)), data, device, tensor.data_type, &self.shape)
    }

    pub(super) fn new(
        owner: Owner,
        data: *mut c_void,
        (device_type, device_id): (i32, i32),
        data_type: DataType,
        shape: &[usize],
    ) -> Self {
        let place = match device_type {
            CUDA | CUDA_MANAGED => Place::Cuda(device_id as usize),
            _ => Place::Host,
        };
        // A shape has no more dimensions than an i32 counts.
        let ndim = shape.len() as i32;
        let sizes: Box<[i64]> = shape.iter().map(|size| *size as i64).collect();
        let strides = super::row_major(shape).into_iter().map(|stride| stride as i64).collect();
        // Pointers into it hold where it stays.
        let context = Box::leak(Box::new(Context { _owner: owner, sizes, strides }));
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
    _owner: Owner,
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
