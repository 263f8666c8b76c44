//! How a model is traced.

use crate::error::bertscript_error;
use crate::guard::set;
use crate::pointers::{free, text};
use crate::status::bertscript_status;
use bertscript::FixedShape;
use std::ffi::c_char;

/// How a model is traced. Unless told otherwise, for every batch size and
/// length.
///
/// Ownership: the caller frees them; a call that takes them copies them.
/// Thread safety: one thread at a time.
pub struct bertscript_trace_options(pub(crate) Vec<FixedShape>);

/// Creates default options.
///
/// Ownership: the caller frees them.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub extern "C" fn bertscript_trace_options_new() -> *mut bertscript_trace_options {
    Box::into_raw(Box::new(bertscript_trace_options(Vec::new())))
}

/// Traces for this shape, and for others that are added: inputs are padded to
/// the next one, larger inputs refused.
///
/// @param shape batch by length, such as `1x128`; of multiple choice, batch by
///        choices by length
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_trace_options_add_fixed_shape(
    options: *mut bertscript_trace_options,
    shape: *const c_char,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.0.push(text(shape, "shape")?.parse()?);
            Ok(())
        })
    }
}

/// Frees options. NULL is accepted.
///
/// Ownership: takes the options.
/// Thread safety: any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_trace_options_free(options: *mut bertscript_trace_options) {
    // SAFETY: options that this library boxed, given back once.
    unsafe { free(options) };
}
