//! Instruction sets of AArch64.

mod dot;
mod neon;

pub(crate) use dot::{NeonBf16, NeonDotprod, NeonI8mm};
pub(crate) use neon::Neon;
