//! What this library is.

use crate::status::*;
use std::ffi::{CStr, c_char};

/// The version of the interface: it grows with every addition.
pub const BERTSCRIPT_ABI_VERSION: u32 = 1;

/// The version of the library, such as `0.1.0`.
///
/// Ownership: static.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub extern "C" fn bertscript_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// `BERTSCRIPT_ABI_VERSION` of the library that is loaded, which may be newer
/// than the header.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub extern "C" fn bertscript_abi_version() -> u32 {
    BERTSCRIPT_ABI_VERSION
}

/// The name of a status, such as `INVALID_ARGUMENT`; `UNKNOWN` of any other
/// number.
///
/// Ownership: static.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub extern "C" fn bertscript_status_name(status: bertscript_status) -> *const c_char {
    let name: &CStr = match status {
        BERTSCRIPT_OK => c"OK",
        BERTSCRIPT_INVALID_ARGUMENT => c"INVALID_ARGUMENT",
        BERTSCRIPT_NULL_POINTER => c"NULL_POINTER",
        BERTSCRIPT_INVALID_UTF8 => c"INVALID_UTF8",
        BERTSCRIPT_IO => c"IO",
        BERTSCRIPT_CORRUPT => c"CORRUPT",
        BERTSCRIPT_UNSUPPORTED => c"UNSUPPORTED",
        BERTSCRIPT_SHAPE_MISMATCH => c"SHAPE_MISMATCH",
        BERTSCRIPT_DEVICE_UNAVAILABLE => c"DEVICE_UNAVAILABLE",
        BERTSCRIPT_OUT_OF_MEMORY => c"OUT_OF_MEMORY",
        BERTSCRIPT_CANCELLED => c"CANCELLED",
        BERTSCRIPT_TORCH => c"TORCH",
        BERTSCRIPT_VERSION_MISMATCH => c"VERSION_MISMATCH",
        BERTSCRIPT_BUFFER_TOO_SMALL => c"BUFFER_TOO_SMALL",
        BERTSCRIPT_MISSING_WEIGHT => c"MISSING_WEIGHT",
        BERTSCRIPT_VERIFICATION => c"VERIFICATION",
        BERTSCRIPT_INTERNAL => c"INTERNAL",
        BERTSCRIPT_PANIC => c"PANIC",
        _ => c"UNKNOWN",
    };
    name.as_ptr()
}
