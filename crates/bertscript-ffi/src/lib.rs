//! Every function of the C ABI, one handle type a file.
//!
//! The rules: a fallible function returns a status and, if asked, an error that
//! the caller frees; outputs are written on success only; no panic and no C++
//! exception leaves a function; handles are freed by their own function, which
//! takes NULL; what a getter returns lives as long as its handle.

#![allow(non_camel_case_types, clippy::missing_safety_doc)]

mod cancel;
mod error;
mod guard;
mod info;
mod model;
mod module;
mod pointers;
mod status;
mod tensor;

pub use cancel::*;
pub use error::*;
pub use info::*;
pub use model::*;
pub use module::*;
pub use status::*;
pub use tensor::*;
