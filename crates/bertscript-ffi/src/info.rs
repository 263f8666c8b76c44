//! What this library is.

use crate::status::*;
use std::ffi::{CStr, CString, c_char};
use std::sync::OnceLock;

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

/// The version as one number, to be compared: 10203 of `1.2.3`.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub extern "C" fn bertscript_version_number() -> u32 {
    const fn part(text: &str) -> u32 {
        match u32::from_str_radix(text, 10) {
            Ok(number) => number,
            Err(_) => panic!("a version consists of numbers"),
        }
    }
    const VERSION: u32 = part(env!("CARGO_PKG_VERSION_MAJOR")) * 10_000
        + part(env!("CARGO_PKG_VERSION_MINOR")) * 100
        + part(env!("CARGO_PKG_VERSION_PATCH"));
    VERSION
}

/// What the library was built from, as JSON: `version`, `abi_version`,
/// `torch_version` (of the libtorch that its plug-in is for), `format_version` (of the files it
/// writes), `target`.
///
/// Ownership: static.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub extern "C" fn bertscript_build_info_json() -> *const c_char {
    static INFO: OnceLock<CString> = OnceLock::new();
    let info = INFO.get_or_init(|| {
        let info = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "abi_version": BERTSCRIPT_ABI_VERSION,
            "torch_version": bertscript::TORCH_VERSION,
            "format_version": bertscript::FORMAT_VERSION,
            "target": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        });
        CString::new(info.to_string()).unwrap_or_default()
    });
    info.as_ptr()
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
        BERTSCRIPT_NOT_FOUND => c"NOT_FOUND",
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
        BERTSCRIPT_BUSY => c"BUSY",
        BERTSCRIPT_POISONED => c"POISONED",
        BERTSCRIPT_MISSING_WEIGHT => c"MISSING_WEIGHT",
        BERTSCRIPT_VERIFICATION => c"VERIFICATION",
        BERTSCRIPT_PROCESS_STATE => c"PROCESS_STATE",
        BERTSCRIPT_TORCH_UNAVAILABLE => c"TORCH_UNAVAILABLE",
        BERTSCRIPT_INTERNAL => c"INTERNAL",
        BERTSCRIPT_PANIC => c"PANIC",
        BERTSCRIPT_FOREIGN_EXCEPTION => c"FOREIGN_EXCEPTION",
        _ => c"UNKNOWN",
    };
    name.as_ptr()
}
