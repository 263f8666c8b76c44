//! From the hidden states of tokens to one vector per text: the modules of
//! sentence-transformers after the model.

mod dense;
mod module_files;
mod pipeline;
mod pooling;
mod precision;
mod quality;
mod ranges;
mod similarity;
mod sparse_rows;
mod splade;
mod stage;

pub use pipeline::{EmbeddingPipeline, Prompts, Similarity};
pub use pooling::PoolingMode;
pub(crate) use pooling::{pool_rows, pooled_tokens};
pub use precision::{EmbeddingPrecision, Quantizer};
pub use quality::EmbeddingQuality;
pub use ranges::EmbeddingRanges;
pub(crate) use sparse_rows::SparseRows;
pub(crate) use splade::{SpladePooler, SpladePooling};
pub(crate) use stage::normalize;
