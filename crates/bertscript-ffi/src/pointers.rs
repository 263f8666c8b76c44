//! From raw pointers to references, and back.

use crate::guard::Failure;
use crate::status::{
    BERTSCRIPT_INVALID_ARGUMENT, BERTSCRIPT_INVALID_UTF8, BERTSCRIPT_NULL_POINTER,
};
use std::ffi::{CStr, c_char};

/// A handle or an input that must be there.
///
/// # Safety
/// `pointer` is NULL or points to a live value.
pub(crate) unsafe fn get<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, Failure> {
    // SAFETY: by the contract of this function.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(name))
}

/// The place of an output.
///
/// # Safety
/// `pointer` is NULL or a place that may be written.
pub(crate) unsafe fn place<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut T, Failure> {
    // SAFETY: by the contract of this function.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(name))
}

/// An array of `count` values; NULL is accepted for none.
///
/// # Safety
/// `pointer` is NULL or points to `count` live values.
pub(crate) unsafe fn array<'a, T>(
    pointer: *const T,
    count: usize,
    name: &str,
) -> Result<&'a [T], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(null(name));
    }
    let most = isize::MAX as usize / size_of::<T>().max(1);
    if count > most {
        let message = format!("{name}: found {count} elements, expected at most {most}");
        return Err(Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message));
    }
    // SAFETY: by the contract of this function; the length was checked.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// A NUL-terminated text.
///
/// # Safety
/// `pointer` is NULL or points to a NUL-terminated string.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str, Failure> {
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: by the contract of this function.
    let bytes = unsafe { CStr::from_ptr(pointer) };
    bytes.to_str().map_err(|error| {
        let message = format!("{name}: not UTF-8 at byte {}", error.valid_up_to());
        Failure::new(BERTSCRIPT_INVALID_UTF8, message)
    })
}

/// Frees what [`Box::into_raw`] gave out.
///
/// # Safety
/// `pointer` is NULL or was boxed by this library, and is given back once.
pub(crate) unsafe fn free<T>(pointer: *mut T) {
    if !pointer.is_null() {
        // SAFETY: by the contract of this function.
        let owned = unsafe { Box::from_raw(pointer) };
        // Whatever a destructor does, it must not unwind into C.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(owned)));
    }
}

fn null(name: &str) -> Failure {
    Failure::new(BERTSCRIPT_NULL_POINTER, format!("{name}: found NULL"))
}
