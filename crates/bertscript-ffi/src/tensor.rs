//! The tensor handle.

use crate::error::bertscript_error;
use crate::guard::{Failure, guard};
use crate::pointers::{array, free, get, place};
use crate::status::{
    BERTSCRIPT_BUFFER_TOO_SMALL, BERTSCRIPT_INVALID_ARGUMENT, BERTSCRIPT_UNSUPPORTED,
    bertscript_status,
};
use std::ffi::c_void;
use std::sync::Arc;
use tch::{Kind, Tensor};
use torchscript::SharedTensor;

/// The type of a tensor's elements.
pub type bertscript_dtype = i32;

/// `float`
pub const BERTSCRIPT_FLOAT32: bertscript_dtype = 1;
/// IEEE half precision, 16 bits
pub const BERTSCRIPT_FLOAT16: bertscript_dtype = 2;
/// bfloat16, 16 bits
pub const BERTSCRIPT_BFLOAT16: bertscript_dtype = 3;
/// `int64_t`
pub const BERTSCRIPT_INT64: bertscript_dtype = 4;
/// `int32_t`
pub const BERTSCRIPT_INT32: bertscript_dtype = 5;
/// One byte, 0 or 1
pub const BERTSCRIPT_BOOL: bertscript_dtype = 6;

const DTYPES: [(bertscript_dtype, Kind); 6] = [
    (BERTSCRIPT_FLOAT32, Kind::Float),
    (BERTSCRIPT_FLOAT16, Kind::Half),
    (BERTSCRIPT_BFLOAT16, Kind::BFloat16),
    (BERTSCRIPT_INT64, Kind::Int64),
    (BERTSCRIPT_INT32, Kind::Int),
    (BERTSCRIPT_BOOL, Kind::Bool),
];

/// No tensor of more dimensions is of use here.
const MOST_DIMENSIONS: usize = 64;

/// An array of numbers: contiguous, row-major, unchanging.
///
/// Ownership: the caller frees it; clones share the numbers.
/// Thread safety: any number of threads at once.
pub struct bertscript_tensor(Arc<Values>);

struct Values {
    tensor: SharedTensor,
    dtype: bertscript_dtype,
    shape: Vec<i64>,
}

impl bertscript_tensor {
    pub(crate) fn new(tensor: &Tensor) -> Result<Self, Failure> {
        let kind = tensor.f_kind()?;
        let dtype = DTYPES.iter().find(|(_, known)| *known == kind).ok_or_else(|| {
            Failure::new(BERTSCRIPT_UNSUPPORTED, format!("a tensor of {kind:?} has no dtype here"))
        })?;
        let tensor = tensor.f_contiguous()?;
        let (dtype, shape) = (dtype.0, tensor.size());
        Ok(Self(Arc::new(Values { tensor: SharedTensor::new(tensor), dtype, shape })))
    }

    pub(crate) fn into_raw(self) -> *mut Self {
        Box::into_raw(Box::new(self))
    }

    pub(crate) fn tensor(&self) -> Tensor {
        self.0.tensor.get()
    }

    fn nbytes(&self) -> usize {
        let tensor = self.0.tensor.get();
        let kind = DTYPES.iter().find(|(dtype, _)| *dtype == self.0.dtype).map(|(_, kind)| *kind);
        tensor.numel() * kind.map_or(0, |kind| kind.elt_size_in_bytes())
    }
}

/// Makes a tensor of a copy of `data`.
///
/// @param dtype one of `BERTSCRIPT_FLOAT32` and so on
/// @param shape the size of each of `ndim` dimensions; NULL if `ndim` is 0
/// @param data the elements, row-major
/// @param nbytes the size of `data`, which must be that of the shape
/// @param out the tensor
/// @param err where the error goes; NULL to be told the status only
///
/// Ownership: the caller frees the tensor; `data` may go at once.
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
        let invalid = |message: String| Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message);
        let kind = DTYPES.iter().find(|(known, _)| *known == dtype).map(|(_, kind)| *kind);
        let kind = kind.ok_or_else(|| invalid(format!("dtype: found {dtype}, expected 1 to 6")))?;
        if ndim > MOST_DIMENSIONS {
            return Err(invalid(format!("ndim: found {ndim}, expected at most {MOST_DIMENSIONS}")));
        }
        let size = shape.iter().try_fold(kind.elt_size_in_bytes() as i64, |size, length| {
            size.checked_mul(*length).filter(|_| *length >= 0)
        });
        if size != i64::try_from(nbytes).ok() {
            let expected = size.map_or("no size at all".to_owned(), |size| size.to_string());
            return Err(invalid(format!(
                "nbytes: found {nbytes}, expected {expected} for the shape {shape:?}"
            )));
        }
        *out = bertscript_tensor::new(&Tensor::f_from_data_size(data, shape, kind)?)?.into_raw();
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// The type of the elements; 0 of NULL.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tensor_dtype(
    tensor: *const bertscript_tensor,
) -> bertscript_dtype {
    // SAFETY: NULL, or a live tensor by the contract of the function.
    unsafe { tensor.as_ref() }.map_or(0, |tensor| tensor.0.dtype)
}

/// The size of each dimension.
///
/// @param ndim gets the number of dimensions; may be NULL
///
/// Ownership: borrowed, until the tensor is freed; NULL of NULL.
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

/// The elements, in host memory, row-major.
///
/// @param data gets their place
/// @param nbytes gets their size; may be NULL
/// @param err where the error goes; NULL to be told the status only
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
            *nbytes = tensor.nbytes();
        }
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

impl bertscript_tensor {
    fn host_data(&self) -> Result<*const c_void, Failure> {
        let tensor = self.tensor();
        if tensor.device() != tch::Device::Cpu {
            let message =
                "the tensor is not in host memory; copy it with bertscript_tensor_copy_to";
            return Err(Failure::new(BERTSCRIPT_UNSUPPORTED, message));
        }
        Ok(tensor.data_ptr().cast_const())
    }
}

/// Copies the elements to the caller's memory, from any device.
///
/// @param destination where to
/// @param capacity the room there, in bytes
/// @param written gets the size of the elements, also if the room is too small
///        (`BERTSCRIPT_BUFFER_TOO_SMALL`, and nothing is copied); may be NULL
/// @param err where the error goes; NULL to be told the status only
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
        let needed = tensor.nbytes();
        // SAFETY: as above.
        if let Some(written) = unsafe { written.as_mut() } {
            *written = needed;
        }
        if capacity < needed {
            let message = format!("capacity: found {capacity}, expected at least {needed}");
            return Err(Failure::new(BERTSCRIPT_BUFFER_TOO_SMALL, message));
        }
        if needed > 0 {
            // SAFETY: as above.
            unsafe { place(destination.cast::<u8>(), "destination")? };
            let host = tensor.tensor().f_to_device(tch::Device::Cpu)?;
            // SAFETY: both hold `needed` bytes, and are different memory.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    host.data_ptr().cast::<u8>(),
                    destination.cast(),
                    needed,
                )
            };
        }
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Another handle to the same numbers; NULL of NULL.
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
