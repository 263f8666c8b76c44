//! From text to token ids, and from hidden states to an embedding.

mod chars;
mod dense;
mod encoding;
mod growth;
mod limits;
mod parallel;
mod pooling;
mod recipe;
mod settings;
mod tokenizer;
mod truncation;
mod vocab;

pub use dense::Dense;
pub use encoding::{EncodeOptions, Encoding, Padding, Text, Truncation};
pub(crate) use limits::check_filled;
pub use limits::{LONGEST_PADDING, LONGEST_TEXT};
pub(crate) use parallel::shut_down;
pub use pooling::PoolingMode;
pub(crate) use recipe::normalize;
pub use recipe::{Prompts, Recipe, Similarity, Step};
pub use tokenizer::Tokenizer;
