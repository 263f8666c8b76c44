//! What executes a module. An engine is chosen once, when a module is made; tasks ask it
//! for outputs and rows, and never which one it is.

mod batches;
mod choice;
#[cfg(feature = "torch")]
mod device_pooling;
mod native;
mod outputs;
#[cfg(not(feature = "torch"))]
mod remote;
mod rows;
#[cfg(feature = "torch")]
mod script;
mod source;
#[cfg(feature = "torch")]
mod tensors;
#[cfg(feature = "torch")]
mod varlen;

pub(crate) use choice::{Choice, choose};
pub use choice::{EngineKind, Precision};
pub use outputs::Outputs;
pub(crate) use rows::BatchOutput;
pub(crate) use source::Source;

use crate::batch::{Batch, CheckedInputs};
use crate::embedding::{PoolingMode, SparseRows, SpladePooler, SpladePooling};
use crate::error::{Error, ErrorKind, Result};
use bertscript_kernels::Team;
use std::fmt;
use std::ops::Range;

/// What a task reads of a batch.
pub(crate) enum Want<'a> {
    /// These outputs of the archive, by index: a row for each token, or for each sequence
    /// where the output is of sequences.
    Outputs(&'a [usize]),
    /// The rows of some tokens of an output of tokens.
    Tokens {
        /// The output, by index.
        output: usize,
        /// The tokens of the batch.
        tokens: &'a [usize],
    },
    /// An output of tokens, pooled to a row for each sequence; the results of several modes
    /// are concatenated.
    Pooled {
        /// The output, by index.
        output: usize,
        /// How.
        modes: &'a [PoolingMode],
        /// How many tokens at the start of each sequence take no part.
        skipped: &'a [usize],
    },
}

/// Runs one batch after another, on the threads that it is given.
pub(crate) type EachBatch<'a> = dyn Fn(Range<usize>, &dyn Team) -> Result<()> + Sync + 'a;

/// What executes a module.
pub(crate) trait Engine: Send + Sync + fmt::Debug {
    /// All outputs of inputs, as tensors of the shapes that the archive describes, on the
    /// module's device.
    fn run(&self, inputs: &CheckedInputs<'_>) -> Result<Outputs>;

    /// What is wanted of a batch.
    fn forward(&self, batch: &Batch, want: &Want<'_>, team: &dyn Team) -> Result<Vec<BatchOutput>>;

    /// The logits of a batch, which are an output of tokens, pooled to a row for each sequence.
    fn splade(
        &self,
        batch: &Batch,
        output: usize,
        pooling: SpladePooling,
        team: &dyn Team,
    ) -> Result<SparseRows> {
        let missing = || Error::new(ErrorKind::Archive, "the model lacks an output");
        let logits = self.forward(batch, &Want::Outputs(&[output]), team)?.pop();
        let logits = logits.ok_or_else(missing)?.into_matrix()?;
        let mut pooler = SpladePooler::new(pooling, batch.cu_seqlens(), logits.width())?;
        pooler.add(&logits)?;
        Ok(pooler.finish())
    }

    /// Cuts sequences of these lengths, the longest first, into batches that suit the
    /// device, of at most `max_tokens` tokens where they have several sequences, and calls
    /// `each` for every one of them, perhaps on several threads at once.
    fn for_each_batch(
        &self,
        lengths: &[usize],
        max_tokens: Option<usize>,
        each: &EachBatch<'_>,
    ) -> Result<()>;

    /// How many shapes of small batches were captured as CUDA graphs.
    ///
    /// # Errors
    /// Why none can be.
    fn captured_graphs(&self) -> Result<usize> {
        Ok(0)
    }
}
