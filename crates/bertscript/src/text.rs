//! From text to token ids, and from hidden states to an embedding.

mod chars;
mod dense;
mod encoding;
mod growth;
mod limits;
mod module_files;
mod parallel;
mod pooling;
mod recipe;
mod settings;
mod step;
mod tokenizer;
mod truncation;
mod vocab;

pub use encoding::{EncodeOptions, Encoding, Padding, Text, Truncation};
pub(crate) use limits::check_padded;
pub use limits::{MAX_PADDED_LENGTH, MAX_TEXT_BYTES};
pub(crate) use parallel::shut_down;
pub use pooling::PoolingMode;
pub use recipe::{Prompts, Recipe, Similarity};
pub(crate) use step::normalize;
pub use tokenizer::Tokenizer;
