//! From raw pointers to references, and back.

use crate::failure::Failure;
use crate::status::{
    BERTSCRIPT_BUFFER_TOO_SMALL, BERTSCRIPT_INVALID_ARGUMENT, BERTSCRIPT_INVALID_UTF8,
    BERTSCRIPT_NULL_POINTER,
};
use bertscript::MAX_TEXT_BYTES;
use std::ffi::{CString, c_char};

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

/// A number that says yes or no.
pub(crate) fn flag(value: i32, name: &str) -> Result<bool, Failure> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => {
            let message = format!("{name}: found {value}, expected 0 or 1");
            Err(Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message))
        }
    }
}

/// A count of which there must be one at least.
pub(crate) fn positive(value: usize, name: &str) -> Result<usize, Failure> {
    if value == 0 {
        let message = format!("{name}: found 0, expected at least 1");
        return Err(Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message));
    }
    Ok(value)
}

/// A NUL-terminated text, which is not looked through beyond the limit of texts.
///
/// # Safety
/// `pointer` is NULL or points to a NUL-terminated string.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str, Failure> {
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: by the contract of this function: no NUL stands before.
    let ends = |index: &usize| unsafe { *pointer.add(*index) == 0 };
    let length = (0..=MAX_TEXT_BYTES).find(ends).ok_or_else(|| {
        let message =
            format!("{name}: found more than {MAX_TEXT_BYTES} bytes, expected at most that");
        Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message)
    })?;
    // SAFETY: by the contract of this function.
    utf8(unsafe { std::slice::from_raw_parts(pointer.cast(), length) }, name)
}

/// A text of `length` bytes, which are not looked at beyond the limit of texts.
///
/// # Safety
/// `pointer` is NULL or points to `length` bytes.
pub(crate) unsafe fn text_of<'a>(
    pointer: *const c_char,
    length: usize,
    name: &str,
) -> Result<&'a str, Failure> {
    if length > MAX_TEXT_BYTES {
        let message = format!("{name}: found {length} bytes, expected at most {MAX_TEXT_BYTES}");
        return Err(Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message));
    }
    // SAFETY: by the contract of this function.
    utf8(unsafe { array(pointer.cast(), length, name)? }, name)
}

fn utf8<'a>(bytes: &'a [u8], name: &str) -> Result<&'a str, Failure> {
    std::str::from_utf8(bytes).map_err(|error| {
        let message = format!("{name}: not UTF-8 at byte {}", error.valid_up_to());
        Failure::new(BERTSCRIPT_INVALID_UTF8, message)
    })
}

/// NUL-terminated texts.
///
/// # Safety
/// `texts` is NULL or has `count` pointers, each as of [`text`].
pub(crate) unsafe fn texts(
    texts: *const *const c_char,
    count: usize,
    name: &str,
) -> Result<Vec<String>, Failure> {
    // SAFETY: by the contract of this function.
    let pointers = unsafe { array(texts, count, name)? };
    let each = pointers.iter().enumerate();
    // SAFETY: as above.
    each.map(|(i, pointer)| unsafe { text(*pointer, &format!("{name}[{i}]")).map(str::to_owned) })
        .collect()
}

/// Copies a text to the caller's room, with a NUL at its end.
///
/// # Safety
/// `buffer` is NULL or has room for `capacity` bytes; `length` is NULL or a
/// place that may be written.
pub(crate) unsafe fn give_text(
    text: &str,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> Result<(), Failure> {
    // SAFETY: by the contract of this function.
    let length = unsafe { length.as_mut() };
    let fits = capacity > text.len();
    if fits {
        // SAFETY: as above.
        unsafe { place(buffer.cast::<u8>(), "buffer")? };
    }
    if let Some(length) = length {
        *length = text.len();
    }
    if !fits {
        let message = format!("capacity: found {capacity}, expected at least {}", text.len() + 1);
        return Err(Failure::new(BERTSCRIPT_BUFFER_TOO_SMALL, message));
    }
    // SAFETY: as above; the text and its NUL fit.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast(), text.len());
        buffer.add(text.len()).write(0);
    }
    Ok(())
}

/// A text for C; a NUL inside, which would end it, is replaced.
pub(crate) fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{FFFD}")).unwrap_or_default()
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

pub(crate) fn null(name: &str) -> Failure {
    Failure::new(BERTSCRIPT_NULL_POINTER, format!("{name}: found NULL"))
}
