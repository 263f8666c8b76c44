//! The layers that models are built from.
//!
//! Inside `forward` no size or value of a tensor becomes a Rust number: the
//! tracer would bake it into the file. Clippy forbids the methods that do.

mod attention;
mod embedding;
mod layer_norm;
mod linear;
mod ragged;

pub use attention::Attention;
pub(crate) use attention::{AttentionForm, AttentionMask, boolean_mask};
pub(crate) use embedding::Embedding;
pub(crate) use layer_norm::LayerNorm;
pub(crate) use linear::Linear;
pub(crate) use ragged::{Ragged, RaggedShape, VarlenKernel, padded};
