//! Tensors over memory that somebody else owns, and DLPack both ways.

use crate::dtype::scalar_type;
use crate::error::{Error, ErrorKind, Result, check};
use crate::ffi::{self, DLManagedTensorVersioned};
use crate::module::device_name;
use bertscript_plugin::ManagedTensor;
use std::ffi::c_void;
use std::ptr::NonNull;
use tch::{Device, Kind, Tensor};

/// Memory of somebody else, and how it is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Borrowed<'a> {
    /// The first element.
    pub(crate) data: *mut c_void,
    /// The size of each dimension.
    pub(crate) shape: &'a [i64],
    /// How many elements lie between two of each dimension; row-major if none.
    pub(crate) strides: Option<&'a [i64]>,
    /// The type of the elements.
    pub(crate) kind: Kind,
    /// Where the memory is.
    pub(crate) device: Device,
    /// Called with `user` when the memory is not needed any more: at the end of
    /// the tensor, or before it is returned if it had to be copied.
    pub(crate) release: Option<unsafe extern "C" fn(*mut c_void)>,
    /// What `release` gets.
    pub(crate) user: *mut c_void,
}

impl Borrowed<'_> {
    /// A contiguous tensor over the memory, or a copy where the strides leave no
    /// choice. If this fails, `release` is not called.
    ///
    /// # Errors
    /// What libtorch refuses.
    ///
    /// # Safety
    /// The memory holds every element that shape and strides reach, and lives,
    /// unchanged, until `release` is called. `release` may be called on any
    /// thread.
    pub(crate) unsafe fn tensor(&self) -> Result<Tensor> {
        let device = device_name(self.device)?;
        let strides = self.strides.map_or(std::ptr::null(), <[i64]>::as_ptr);
        if self.strides.is_some_and(|strides| strides.len() != self.shape.len()) {
            return Err(Error::new(ErrorKind::Type, "as many strides as dimensions are needed"));
        }
        let mut raw = std::ptr::null_mut();
        // SAFETY: by the contract of this function; the arrays are live for the call.
        check(unsafe {
            ffi::ts_tensor_borrow(
                self.data,
                self.shape.as_ptr(),
                strides,
                self.shape.len(),
                scalar_type(self.kind)?,
                device.as_ptr(),
                self.release,
                self.user,
                &mut raw,
            )
        })?;
        // SAFETY: the shim gives the tensor away.
        Ok(unsafe { Tensor::from_ptr(raw) })
    }
}

/// A tensor on the CPU over memory of Rust, row-major, which is dropped when the last tensor
/// over it is. Nothing may write to it.
///
/// # Errors
/// [`ErrorKind::Type`] if the memory is not as large as the shape says; what libtorch
/// refuses.
pub fn tensor_over<M: AsRef<[u8]> + Send + Sync + 'static>(
    memory: M,
    shape: &[i64],
    kind: Kind,
) -> Result<Tensor> {
    unsafe extern "C" fn release<M>(user: *mut c_void) {
        // SAFETY: the box of below, given back once.
        drop(unsafe { Box::from_raw(user.cast::<M>()) });
    }
    let size = i64::try_from(kind.elt_size_in_bytes()).unwrap_or(i64::MAX);
    let expected = shape.iter().try_fold(size, |all, size| all.checked_mul(*size));
    let memory = Box::new(memory);
    let bytes = (*memory).as_ref();
    if expected.and_then(|expected| usize::try_from(expected).ok()) != Some(bytes.len()) {
        let message = format!("found {} bytes, expected those of shape {shape:?}", bytes.len());
        return Err(Error::new(ErrorKind::Type, message));
    }
    // The address of no bytes is aligned to nothing.
    let data = match bytes.is_empty() {
        true => std::ptr::null_mut(),
        false => bytes.as_ptr().cast_mut().cast(),
    };
    let user = Box::into_raw(memory);
    let borrowed = Borrowed {
        data,
        shape,
        strides: None,
        kind,
        device: Device::Cpu,
        release: Some(release::<M>),
        user: user.cast(),
    };
    // SAFETY: the bytes were compared with the shape; they stay as they are while the box is
    // shared, which only `release` ends.
    unsafe { borrowed.tensor() }.inspect_err(|_| {
        // SAFETY: `release` was not called, so the box is still there.
        drop(unsafe { Box::from_raw(user) });
    })
}

/// A tensor over the memory of one of another library.
///
/// # Errors
/// A device or dtype that libtorch does not have.
pub fn from_managed(tensor: ManagedTensor) -> Result<Tensor> {
    let raw = tensor.into_raw();
    let dlpack = DLPack::from_raw(raw.as_ptr().cast());
    // SAFETY: the structure was checked when it was taken, and given away here.
    unsafe { dlpack.into_tensor() }.inspect_err(|_| {
        // SAFETY: it was not taken, and is what it was.
        drop(unsafe { ManagedTensor::from_raw(raw) });
    })
}

/// A tensor for another library over the memory of one, which must be contiguous.
///
/// # Errors
/// A device or dtype that DLPack does not have.
pub fn to_managed(tensor: &Tensor) -> Result<ManagedTensor> {
    let raw = DLPack::from_tensor(tensor)?.into_raw();
    let raw = NonNull::new(raw.cast()).ok_or_else(|| Error::new(ErrorKind::Type, "no tensor"))?;
    // SAFETY: libtorch made it, and gives it away.
    unsafe { ManagedTensor::take(raw) }
        .map_err(|error| Error::new(ErrorKind::Type, error.to_string()))
}

/// A tensor of another framework: `DLManagedTensorVersioned` of
/// <https://dmlc.github.io/dlpack/latest/c_api.html>.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DLPack(*mut c_void);

impl DLPack {
    /// Takes a pointer to a `DLManagedTensorVersioned`.
    pub(crate) fn from_raw(managed: *mut c_void) -> Self {
        Self(managed)
    }

    /// The pointer, which whoever takes it frees by its own deleter.
    pub(crate) fn into_raw(self) -> *mut c_void {
        self.0
    }

    /// A contiguous tensor over the same memory, which calls the deleter at its
    /// end; or a copy where the strides leave no choice. If this fails, the
    /// structure stays the caller's.
    ///
    /// # Errors
    /// A device, dtype or shape that libtorch does not have.
    ///
    /// # Safety
    /// The pointer is to a live `DLManagedTensorVersioned` of the major version
    /// that can be read, which nobody else frees. Its deleter may be called on
    /// any thread.
    pub(crate) unsafe fn into_tensor(self) -> Result<Tensor> {
        let mut raw = std::ptr::null_mut();
        let managed = self.0.cast::<DLManagedTensorVersioned>();
        // SAFETY: by the contract of this function.
        check(unsafe { ffi::ts_tensor_from_dlpack(managed, &mut raw) })?;
        // SAFETY: the shim gives the tensor away.
        Ok(unsafe { Tensor::from_ptr(raw) })
    }

    /// A structure over the memory of a tensor, marked as read-only.
    ///
    /// # Errors
    /// A device or dtype that DLPack does not have.
    pub(crate) fn from_tensor(tensor: &Tensor) -> Result<Self> {
        let mut managed = std::ptr::null_mut();
        // SAFETY: both pointers are live for the call.
        check(unsafe { ffi::ts_tensor_to_dlpack(tensor.as_ptr(), &mut managed) })?;
        Ok(Self(managed.cast()))
    }
}
