//! The layers that models are built from.
//!
//! Inside `forward` no size or value of a tensor becomes a Rust number: the
//! tracer would bake it into the file. Clippy forbids the methods that do.

#![deny(clippy::disallowed_methods)]

mod activation;
mod attention;
mod disentangled;
mod embedding;
mod layer_norm;
mod linear;
mod relative_bias;
mod rope;
mod varlen;

pub(crate) use attention::{AttentionForm, Scores, boolean_mask, window_mask};
pub(crate) use disentangled::{DisentangledScores, DistanceEmbedding, DistanceVectors};
pub(crate) use embedding::Embedding;
pub(crate) use layer_norm::LayerNorm;
pub(crate) use linear::Linear;
pub(crate) use relative_bias::RelativeBias;
pub(crate) use rope::Rotation;
pub(crate) use varlen::{
    OfColumns, Sequences, VarlenBatch, VarlenKernel, VarlenScores, VarlenShape,
};
