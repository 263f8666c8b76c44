//! The arithmetic of BERT on a CPU, over texts that lie one after the other.
//!
//! A batch is a [`Matrix`] with a row for each token of all texts and nothing
//! for padding. [`Linear`] layers and [`LayerNorm`] do not care where a text
//! ends; [`attention()`] lets the tokens of each text attend to those of the same
//! text. The value of a row depends on the rows of its text alone, to the last
//! bit: not on the batch, nor on the number of threads.
//!
//! Everything is written once, over the vectors of an instruction set that is
//! chosen at run time ([`Isa`]).

mod activation;
mod amx;
mod attention;
mod element;
mod glu;
mod isa;
mod layer_norm;
mod linear;
mod math;
mod matrix;
pub mod memory;
mod rope;
mod simd;
mod team;
mod tile;

pub use activation::Activation;
pub use attention::{
    Disentangled, Keys, RelativeBias, Sequences, attention, disentangled_attention,
};
pub use element::{Bf16, Element};
pub use glu::glu;
pub use isa::Isa;
pub use layer_norm::LayerNorm;
pub use linear::{Linear, Then};
pub use matrix::{Matrix, Rows, RowsMut};
pub use memory::OutOfMemory;
pub use rope::Rope;
pub use team::{Solo, Team};
