//! Text in, answers out: what transformers' pipelines and sentence-transformers
//! do, as methods of [`Module`](crate::Module).

mod answer;
mod batches;
#[cfg(all(test, feature = "torch"))]
mod cancelled;
mod classify;
mod cross_encoder;
mod embed;
mod embed_sparse;
mod entities;
mod fill_mask;
mod heads;
mod math;
mod options;
mod prompt;
mod quantize;
mod rank;
mod zero_shot;

pub use answer::{Answer, AnswerOptions, Answers};
pub use classify::{Classification, ClassifyOptions, FunctionToApply, LabelScore};
pub use embed::{EmbedOptions, Embeddings};
pub use embed_sparse::{EmbedSparseOptions, SparseEmbeddings};
pub use entities::{AggregationStrategy, Entities, EntitiesOptions, Entity};
pub use fill_mask::{FillMaskOptions, Filling, Fillings};
pub use options::{Cancel, LongTexts};
pub use rank::{RankOptions, RankedText};
pub use zero_shot::ZeroShotOptions;
