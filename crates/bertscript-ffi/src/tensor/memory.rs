//! Tensors over the caller's memory, and DLPack both ways.

mod release;

use super::{bertscript_dtype, bertscript_tensor, element_type, numel};
use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::pointers::{array, get, place, text};
use crate::status::{BERTSCRIPT_INVALID_ARGUMENT, BERTSCRIPT_VERSION_MISMATCH, bertscript_status};
use bertscript::dlpack::{DLManagedTensorVersioned as Managed, Malformed, Place, StridedTensor};
use bertscript::{Device, Tensor};
use release::Release;
use std::ffi::{c_char, c_void};
use std::ptr::NonNull;

/// Told that borrowed memory is not needed any more.
pub type bertscript_release_callback = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// A tensor of another framework, as `dlpack.h` declares it.
#[repr(C)]
pub struct DLManagedTensorVersioned {
    private: [u8; 0],
}

/// Makes a tensor over memory of the caller, without a copy; with one if the
/// strides are not those of row-major order.
///
/// @param dtype one of `BERTSCRIPT_FLOAT32` and so on
/// @param shape the size of each of `ndim` dimensions; NULL if `ndim` is 0
/// @param strides how many elements lie between two of each dimension; NULL for
///        row-major order
/// @param ndim the number of dimensions
/// @param data the elements; aligned to their size; of bool each 0 or 1
/// @param nbytes the size of `data`, which shape and strides must keep to
/// @param device where `data` is: `cpu`, `cuda` or `cuda:N`; NULL for `cpu`
/// @param release called with `user` once, when the memory is not needed any
///        more, on any thread, maybe before this returns; must not throw; NULL
///        for none. Not called if this fails
/// @param user what `release` gets
/// @param out the tensor
///
/// Ownership: the caller frees the tensor. `data` must live and stay unchanged
/// until `release` is called, or until every clone of the tensor is freed.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tensor_borrow(
    dtype: bertscript_dtype,
    shape: *const i64,
    strides: *const i64,
    ndim: usize,
    data: *mut c_void,
    nbytes: usize,
    device: *const c_char,
    release: bertscript_release_callback,
    user: *mut c_void,
    out: *mut *mut bertscript_tensor,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        let invalid = |message: String| Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message);
        // SAFETY: by the contract of the function.
        let (out, shape) = unsafe { (place(out, "out")?, array(shape, ndim, "shape")?) };
        let element_type = element_type(dtype)?;
        let size = element_type.size();
        let count = numel(shape, element_type)?;
        let strides = match strides.is_null() {
            true => None,
            // SAFETY: as above.
            false => Some(unsafe { array(strides, ndim, "strides")? }),
        };
        let reach = reach(shape, strides, count).ok_or_else(|| {
            let strides = strides.unwrap_or_default();
            invalid(match strides.iter().any(|stride| *stride < 0) {
                true => format!(
                    "strides: found {strides:?} for the shape {shape:?}, expected none below 0"
                ),
                false => format!(
                    "strides: found {strides:?} for the shape {shape:?}, which exceed addressable memory"
                ),
            })
        })?;
        let needed = reach.checked_mul(size as i64).and_then(|needed| usize::try_from(needed).ok());
        if needed.is_none_or(|needed| nbytes < needed) {
            let needed =
                needed.map_or("more than addressable memory".to_owned(), |n| n.to_string());
            return Err(invalid(format!("nbytes: found {nbytes}, expected at least {needed}")));
        }
        if count > 0 {
            // SAFETY: as above.
            unsafe { get(data.cast::<u8>(), "data")? };
        }
        if !(data as usize).is_multiple_of(size) {
            return Err(invalid(format!("data: not aligned to {size} bytes")));
        }
        let place = match device.is_null() {
            true => Place::Host,
            // SAFETY: as above.
            false => match unsafe { text(device, "device")? }.parse::<Device>()? {
                Device::Cpu => Place::Host,
                Device::Cuda(index) => Place::Cuda(index),
            },
        };
        let callback = move || {
            if let Some(release) = release {
                // SAFETY: as above: it is called once, with what it gets.
                unsafe { release(user) };
            }
        };
        // SAFETY: as above: it may be called on any thread.
        let (owner, release) = unsafe { Release::new(callback) };
        let data_type = element_type.data_type();
        // SAFETY: as above; the reach was compared with the size.
        let tensor = unsafe { StridedTensor::over(owner, data, place, data_type, shape, strides) };
        *out = taken(tensor, None)?;
        release.arm();
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// A tensor of what was checked, for the caller; a failure names the argument.
fn taken(
    tensor: Result<StridedTensor, Malformed>,
    argument: Option<&str>,
) -> Result<*mut bertscript_tensor, Failure> {
    let at = |failure: Failure| match argument {
        Some(argument) => failure.at(argument),
        None => failure,
    };
    let malformed = |error: Malformed| Failure::new(BERTSCRIPT_INVALID_ARGUMENT, error.to_string());
    let tensor = tensor.map_err(malformed).map_err(at)?;
    let tensor = Tensor::from_dlpack(tensor).map_err(|error| at(error.into()))?;
    Ok(bertscript_tensor::new(tensor).into_raw())
}

/// How many elements lie from the first to the last that is reached.
fn reach(shape: &[i64], strides: Option<&[i64]>, count: i64) -> Option<i64> {
    let Some(strides) = strides.filter(|_| count > 0) else { return Some(count) };
    shape.iter().zip(strides).try_fold(1_i64, |reach, (length, stride)| {
        let further = (length - 1).checked_mul(*stride).filter(|_| *stride >= 0)?;
        reach.checked_add(further)
    })
}

/// Makes a tensor of a tensor of another framework, over the same memory; over a
/// copy if that is not in row-major order.
///
/// @param managed a DLPack tensor on the CPU or a CUDA device
/// @param out the tensor
///
/// Errors: `BERTSCRIPT_INVALID_ARGUMENT` with the field that makes no sense;
/// `BERTSCRIPT_VERSION_MISMATCH` for another major version of DLPack;
/// `BERTSCRIPT_DEVICE_UNAVAILABLE`, and for a CUDA device `BERTSCRIPT_TORCH_UNAVAILABLE`.
/// Ownership: on success the tensor owns `managed` and calls its deleter at its
/// end; on failure `managed` stays the caller's. The caller frees the tensor.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tensor_from_dlpack(
    managed: *mut DLManagedTensorVersioned,
    out: *mut *mut bertscript_tensor,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let out = unsafe {
            get(managed, "managed")?;
            place(out, "out")?
        };
        let Some(raw) = NonNull::new(managed.cast::<Managed>()) else { return Ok(()) };
        // SAFETY: as above.
        let (found, known) = unsafe { StridedTensor::major_versions(raw) };
        if found != known {
            let message = format!("managed: found DLPack {found}, expected {known}");
            return Err(Failure::new(BERTSCRIPT_VERSION_MISMATCH, message));
        }
        // SAFETY: as above: on success it is this library's, and ended once, on any thread.
        let (owner, release) = unsafe { Release::new(StridedTensor::ended_by_deleter(raw)) };
        // SAFETY: as above.
        *out = taken(unsafe { StridedTensor::of(owner, raw) }, Some("managed"))?;
        release.arm();
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Makes a DLPack tensor over the same memory, marked as read-only.
///
/// @param out gets it; its consumer calls its deleter
///
/// Ownership: it holds the numbers by itself; the tensor stays the caller's.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tensor_to_dlpack(
    tensor: *const bertscript_tensor,
    out: *mut *mut DLManagedTensorVersioned,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (tensor, out) = unsafe { (get(tensor, "tensor")?, place(out, "out")?) };
        *out = tensor.tensor().to_dlpack()?.into_raw().as_ptr().cast();
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}
