//! The arithmetic of BERT on a CPU, over texts that lie one after the other.
//!
//! A batch is a [`Matrix`] with a row for each token of all texts and nothing
//! for padding. [`Linear`] layers and [`LayerNorm`] do not care where a text
//! ends; [`attention()`] lets the tokens of each text attend to those of the same
//! text. The value of a row depends on the rows of its text alone, to the last
//! bit: not on the batch, nor on the number of threads.
//!
//! Everything is written once, over the vectors and microkernels of an instruction set that is
//! chosen at run time ([`Isa`]), and compiled here: what is generic in the interface only tells
//! float32 from bfloat16.

mod activation;
mod arch;
mod attention;
mod bf16;
mod element;
mod gemm;
mod glu;
mod instances;
mod isa;
mod layer_norm;
mod linear;
mod math;
mod matrix;
pub mod memory;
mod microkernel;
pub mod reference;
mod rope;
mod simd;
mod team;

pub use activation::Activation;
pub use attention::{
    Disentangled, Keys, RelativeBias, Sequences, attention, disentangled_attention,
};
pub use bf16::Bf16;
pub use element::Element;
pub use gemm::Then;
pub use glu::glu;
pub use isa::Isa;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use matrix::{Matrix, Rows, RowsMut};
pub use memory::OutOfMemory;
pub use rope::Rope;
pub use team::{Solo, Team};
