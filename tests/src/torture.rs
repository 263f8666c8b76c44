//! A C program that calls every function of the header with every argument gone
//! wrong, one at a time. It is generated, so that no function is forgotten.
//!
//! What the program stands on is in `c/torture.h`.

mod combined;
mod declarations;
mod program;
mod values;

pub use declarations::{Function, Parameter, declarations};
pub use program::program;
