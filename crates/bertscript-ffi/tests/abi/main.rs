//! What a careless caller gets from the C functions, called from Rust.

#![expect(clippy::undocumented_unsafe_blocks, reason = "the contracts are broken on purpose")]

mod embed_into;
mod handles;
mod log;
mod mistakes;
mod models;
mod sparse_embeddings;
mod tasks;
mod tensors;
mod weights;

use bertscript_ffi::*;
use std::ffi::{CStr, CString};
use std::path::Path;
use std::ptr::{null, null_mut};

/// The status and the message of an error, which is freed.
fn told(status: bertscript_status, error: *mut bertscript_error) -> (bertscript_status, String) {
    assert!(!error.is_null());
    unsafe {
        assert_eq!(bertscript_error_status(error), status);
        let message = CStr::from_ptr(bertscript_error_message(error)).to_str().unwrap().to_owned();
        assert!(!message.contains('\n'), "{message}");
        bertscript_error_free(error);
        (status, message)
    }
}

/// The checkpoint of a fixture, as a path for C.
fn fixture(name: &str) -> CString {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name);
    CString::new(fixtures.to_str().unwrap()).unwrap()
}

/// A fixture's model.
fn model(name: &str) -> *mut bertscript_model {
    let (mut model, mut error) = (null_mut(), null_mut());
    let directory = fixture(name);
    let status = unsafe {
        bertscript_model_from_pretrained(directory.as_ptr(), null(), &raw mut model, &raw mut error)
    };
    assert_eq!(status, BERTSCRIPT_OK);
    model
}

/// A fixture, exported to a file in `folder`.
fn exported(name: &str, folder: &Path) -> CString {
    let to = CString::new(folder.join("model.pt").to_str().unwrap()).unwrap();
    let model = model(name);
    let status = unsafe { bertscript_model_export(model, null(), to.as_ptr(), null_mut()) };
    assert_eq!(status, BERTSCRIPT_OK);
    unsafe { bertscript_model_free(model) };
    to
}

fn load(file: &CStr) -> *mut bertscript_module {
    let mut module = null_mut();
    let status =
        unsafe { bertscript_module_load(file.as_ptr(), null(), &raw mut module, null_mut()) };
    assert_eq!(status, BERTSCRIPT_OK);
    module
}

/// A fixture's model, traced.
fn traced(name: &str) -> *mut bertscript_module {
    let (model, mut module) = (model(name), null_mut());
    let status = unsafe { bertscript_model_trace(model, null(), &raw mut module, null_mut()) };
    assert_eq!(status, BERTSCRIPT_OK);
    unsafe { bertscript_model_free(model) };
    module
}

/// A text of C's.
fn text(pointer: *const std::ffi::c_char) -> String {
    assert!(!pointer.is_null());
    unsafe { CStr::from_ptr(pointer) }.to_str().unwrap().to_owned()
}

/// The float32 values of a tensor.
fn values(tensor: *const bertscript_tensor) -> Vec<f32> {
    let mut values = vec![0f32; unsafe { bertscript_tensor_numel(tensor) } as usize];
    let (place, size) = (values.as_mut_ptr().cast(), size_of_val(&values[..]));
    assert_eq!(unsafe { bertscript_tensor_nbytes(tensor) }, size);
    let status = unsafe { bertscript_tensor_copy_to(tensor, place, size, null_mut(), null_mut()) };
    assert_eq!(status, BERTSCRIPT_OK);
    values
}

/// The status and the message of a call that must fail and write no output.
fn refused<T>(
    call: impl FnOnce(*mut *mut T, *mut *mut bertscript_error) -> bertscript_status,
) -> (bertscript_status, String) {
    let (mut out, mut error) = (null_mut(), null_mut());
    let status = call(&raw mut out, &raw mut error);
    assert!(out.is_null(), "an output was written");
    told(status, error)
}

fn invalid(message: &str) -> (bertscript_status, String) {
    (BERTSCRIPT_INVALID_ARGUMENT, message.to_owned())
}

/// A tensor over `data`.
fn tensor<T>(dtype: bertscript_dtype, shape: &[i64], data: &[T]) -> *mut bertscript_tensor {
    let (mut tensor, size) = (null_mut(), size_of_val(data));
    let (shape, ndim, data) = (shape.as_ptr(), shape.len(), data.as_ptr().cast());
    let status = unsafe {
        bertscript_tensor_copy_from(dtype, shape, ndim, data, size, &raw mut tensor, null_mut())
    };
    assert_eq!(status, BERTSCRIPT_OK);
    tensor
}
