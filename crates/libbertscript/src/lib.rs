//! The shared library: every C function, under a name that stays.

pub use bertscript_ffi::*;
