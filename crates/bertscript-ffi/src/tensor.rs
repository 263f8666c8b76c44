//! The tensor handle.

mod dtype;
mod memory;

pub use dtype::*;
pub use memory::*;

use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::pointers::{array, c_text, free, get, place, text};
use crate::status::{
    BERTSCRIPT_BUFFER_TOO_SMALL, BERTSCRIPT_INVALID_ARGUMENT, BERTSCRIPT_UNSUPPORTED,
    bertscript_status,
};
use bertscript::{Device, ElementType, Tensor};
use bertscript_plugin::MAX_DIMENSIONS;
use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;

/// An array of numbers: contiguous, row-major, unchanging.
///
/// Ownership: the caller frees it; clones share the numbers.
/// Thread safety: any number of threads at once.
pub struct bertscript_tensor(Arc<Values>);

/// A tensor with its properties in C's form.
struct Values {
    tensor: Tensor,
    shape: Vec<i64>,
    device: CString,
}

impl bertscript_tensor {
    pub(crate) fn new(tensor: Tensor) -> Self {
        let shape = tensor.shape().iter().map(|size| *size as i64).collect();
        let device = c_text(&tensor.device().to_string());
        Self(Arc::new(Values { tensor, shape, device }))
    }

    pub(crate) fn into_raw(self) -> *mut Self {
        Box::into_raw(Box::new(self))
    }

    pub(crate) fn tensor(&self) -> &Tensor {
        &self.0.tensor
    }
}

/// The number of elements that a shape has and that fit in memory.
fn numel(shape: &[i64], element_type: ElementType) -> Result<i64, Failure> {
    let invalid = |message: String| Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message);
    if shape.len() > MAX_DIMENSIONS {
        let message = format!("ndim: found {}, expected at most {MAX_DIMENSIONS}", shape.len());
        return Err(invalid(message));
    }
    let count = shape
        .iter()
        .try_fold(1_i64, |count, length| count.checked_mul(*length).filter(|_| *length >= 0));
    let fits = |count: &i64| count.checked_mul(element_type.size() as i64).is_some();
    count
        .filter(fits)
        .ok_or_else(|| invalid(format!("shape: found {shape:?}, which exceeds addressable memory")))
}

/// Makes a tensor of a copy of `data`.
///
/// @param dtype one of `BERTSCRIPT_FLOAT32` and so on
/// @param shape the size of each of `ndim` dimensions; NULL if `ndim` is 0
/// @param ndim the number of dimensions
/// @param data the elements, row-major; of bool each 0 or 1
/// @param nbytes the size of `data`, which must be that of the shape
/// @param out the tensor
///
/// Ownership: the caller frees the tensor; the caller may free `data` after the call.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tensor_copy_from(
    dtype: bertscript_dtype,
    shape: *const i64,
    ndim: usize,
    data: *const c_void,
    nbytes: usize,
    out: *mut *mut bertscript_tensor,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (out, shape, data) = unsafe {
            (place(out, "out")?, array(shape, ndim, "shape")?, array(data.cast(), nbytes, "data")?)
        };
        let element_type = element_type(dtype)?;
        let expected = numel(shape, element_type)? as usize * element_type.size();
        if nbytes != expected {
            let message =
                format!("nbytes: found {nbytes}, expected {expected} for the shape {shape:?}");
            return Err(Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message));
        }
        if element_type == ElementType::Bool && data.iter().any(|byte| *byte > 1) {
            let message = "data: found a bool that is neither 0 nor 1";
            return Err(Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message));
        }
        let shape: Vec<_> = shape.iter().map(|size| *size as usize).collect();
        let tensor = Tensor::from_bytes(element_type, shape, data)?;
        *out = bertscript_tensor::new(tensor).into_raw();
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// The type of the elements; 0 if `tensor` is NULL.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tensor_dtype(
    tensor: *const bertscript_tensor,
) -> bertscript_dtype {
    // SAFETY: NULL, or a live tensor by the contract of the function.
    unsafe { tensor.as_ref() }.map_or(0, |tensor| number_of(tensor.tensor().element_type()))
}

/// The size of each dimension.
///
/// @param ndim gets the number of dimensions; may be NULL
///
/// Ownership: borrowed, until the tensor is freed; NULL if `tensor` is NULL.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tensor_shape(
    tensor: *const bertscript_tensor,
    ndim: *mut usize,
) -> *const i64 {
    // SAFETY: NULL, or live by the contract of the function.
    let (tensor, ndim) = unsafe { (tensor.as_ref(), ndim.as_mut()) };
    if let Some(ndim) = ndim {
        *ndim = tensor.map_or(0, |tensor| tensor.0.shape.len());
    }
    tensor.map_or(std::ptr::null(), |tensor| tensor.0.shape.as_ptr())
}

/// The number of elements; 0 if `tensor` is NULL.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tensor_numel(tensor: *const bertscript_tensor) -> i64 {
    // SAFETY: NULL, or a live tensor by the contract of the function.
    unsafe { tensor.as_ref() }.map_or(0, |tensor| tensor.0.shape.iter().product())
}

/// The size of the elements in bytes; 0 if `tensor` is NULL.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tensor_nbytes(tensor: *const bertscript_tensor) -> usize {
    // SAFETY: NULL, or a live tensor by the contract of the function.
    unsafe { tensor.as_ref() }.map_or(0, |tensor| tensor.tensor().nbytes())
}

/// Where the elements are: `cpu` or `cuda:N`; NULL if `tensor` is NULL.
///
/// Ownership: borrowed, until the tensor is freed.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tensor_device(
    tensor: *const bertscript_tensor,
) -> *const c_char {
    // SAFETY: NULL, or a live tensor by the contract of the function.
    unsafe { tensor.as_ref() }.map_or(std::ptr::null(), |tensor| tensor.0.device.as_ptr())
}

/// The same numbers on a device; the same memory where they are there already.
///
/// @param device `cpu`, `cuda` or `cuda:N`
/// @param out the tensor
///
/// Errors: `BERTSCRIPT_DEVICE_UNAVAILABLE`, with what is missing;
/// `BERTSCRIPT_TORCH_UNAVAILABLE` for a CUDA device.
/// Ownership: the caller frees it.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tensor_to_device(
    tensor: *const bertscript_tensor,
    device: *const c_char,
    out: *mut *mut bertscript_tensor,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (tensor, device, out) =
            unsafe { (get(tensor, "tensor")?, text(device, "device")?, place(out, "out")?) };
        let tensor = tensor.tensor().to_device(device.parse()?)?;
        *out = bertscript_tensor::new(tensor).into_raw();
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// The same numbers as float32, such as those of float16 and bfloat16; the same memory
/// where they are float32 already.
///
/// @param out the tensor, on the same device
///
/// Ownership: the caller frees it.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tensor_to_float32(
    tensor: *const bertscript_tensor,
    out: *mut *mut bertscript_tensor,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (tensor, out) = unsafe { (get(tensor, "tensor")?, place(out, "out")?) };
        *out = bertscript_tensor::new(tensor.tensor().to_f32()?).into_raw();
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// The elements, in host memory, row-major.
///
/// @param data gets their place
/// @param nbytes gets their size; may be NULL
///
/// Ownership: borrowed, until the last clone of the tensor is freed.
/// Thread safety: any thread; nobody may write to them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tensor_data(
    tensor: *const bertscript_tensor,
    data: *mut *const c_void,
    nbytes: *mut usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (tensor, data) = unsafe { (get(tensor, "tensor")?, place(data, "data")?) };
        *data = tensor.host_data()?;
        // SAFETY: as above.
        if let Some(nbytes) = unsafe { nbytes.as_mut() } {
            *nbytes = tensor.tensor().nbytes();
        }
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

impl bertscript_tensor {
    fn host_data(&self) -> Result<*const c_void, Failure> {
        if self.tensor().device() != Device::Cpu {
            let message =
                "the tensor is not in host memory; copy it with bertscript_tensor_copy_to";
            return Err(Failure::new(BERTSCRIPT_UNSUPPORTED, message));
        }
        let bytes = self.tensor().as_bytes()?;
        Ok(if bytes.is_empty() { std::ptr::null() } else { bytes.as_ptr().cast() })
    }
}

/// Copies the elements to the caller's memory, from any device.
///
/// @param destination where to
/// @param capacity the room there, in bytes
/// @param written gets the size of the elements, also if the room is too small
///        (`BERTSCRIPT_BUFFER_TOO_SMALL`, and nothing is copied); may be NULL
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tensor_copy_to(
    tensor: *const bertscript_tensor,
    destination: *mut c_void,
    capacity: usize,
    written: *mut usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let tensor = unsafe { get(tensor, "tensor")? };
        let needed = tensor.tensor().nbytes();
        // SAFETY: as above.
        let written = unsafe { written.as_mut() };
        if capacity < needed {
            if let Some(written) = written {
                *written = needed;
            }
            let message = format!("capacity: found {capacity}, expected at least {needed}");
            return Err(Failure::new(BERTSCRIPT_BUFFER_TOO_SMALL, message));
        }
        if needed > 0 {
            // SAFETY: as above.
            unsafe { place(destination.cast::<u8>(), "destination")? };
            let host = tensor.tensor().to_device(Device::Cpu)?;
            let bytes = host.as_bytes()?;
            // SAFETY: both hold `needed` bytes, and are different memory.
            unsafe {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), destination.cast(), bytes.len())
            };
        }
        if let Some(written) = written {
            *written = needed;
        }
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Another handle to the same numbers; NULL if `tensor` is NULL.
///
/// Ownership: the caller frees it.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tensor_clone(
    tensor: *const bertscript_tensor,
) -> *mut bertscript_tensor {
    // SAFETY: NULL, or a live tensor by the contract of the function.
    let tensor = unsafe { tensor.as_ref() };
    let clone = |tensor: &bertscript_tensor| bertscript_tensor(tensor.0.clone()).into_raw();
    tensor.map_or(std::ptr::null_mut(), clone)
}

/// Frees a tensor. NULL is accepted.
///
/// Ownership: takes the handle; clones stay.
/// Thread safety: any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tensor_free(tensor: *mut bertscript_tensor) {
    // SAFETY: a tensor that this library boxed, given back once.
    unsafe { free(tensor) };
}
