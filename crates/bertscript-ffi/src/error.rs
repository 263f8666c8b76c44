//! The error handle.

use crate::failure::Failure;
use crate::status::bertscript_status;
use std::ffi::{CString, c_char};

/// What went wrong in a call.
///
/// Ownership: the caller of the failed function frees it.
/// Thread safety: it never changes; any thread may read it.
pub struct bertscript_error {
    status: bertscript_status,
    message: CString,
    detail: CString,
}

impl bertscript_error {
    pub(crate) fn new(failure: Failure) -> Self {
        let text = |text: String| CString::new(text.replace('\0', "\\0")).unwrap_or_default();
        let Failure { status, message, detail } = failure;
        Self { status, message: text(message), detail: text(detail) }
    }
}

/// The status that the failed call returned; `BERTSCRIPT_OK` if `error` is NULL.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_error_status(
    error: *const bertscript_error,
) -> bertscript_status {
    // SAFETY: NULL, or a live error by the contract of the function.
    unsafe { error.as_ref() }.map_or(crate::status::BERTSCRIPT_OK, |error| error.status)
}

/// One line: the object concerned, what was found and what was expected.
///
/// Ownership: borrowed, until the error is freed; empty if `error` is NULL.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_error_message(error: *const bertscript_error) -> *const c_char {
    // SAFETY: as above.
    unsafe { error.as_ref() }.map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// The causes below, a line each; empty if there are none.
///
/// Ownership: borrowed, until the error is freed; empty if `error` is NULL.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_error_detail(error: *const bertscript_error) -> *const c_char {
    // SAFETY: as above.
    unsafe { error.as_ref() }.map_or(c"".as_ptr(), |error| error.detail.as_ptr())
}

/// Frees an error. NULL is accepted.
///
/// Ownership: takes the error.
/// Thread safety: any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_error_free(error: *mut bertscript_error) {
    // SAFETY: an error that this library boxed, given back once.
    unsafe { crate::pointers::free(error) };
}
