//! Many texts through an engine: encoded, sorted by length, cut into batches.

use super::options::{Cancel, LongTexts};
use crate::batch::Batch;
use crate::embedding::{SparseRows, SpladePooling};
use crate::engine::{BatchOutput, Want};
use crate::error::{Error, ErrorKind, Result};
use crate::family::spec::Positions;
use crate::memory::{collect, copied, reserve};
use crate::module::Module;
use crate::text::{EncodeOptions, Encoding, Text, Truncation};
use bertscript_kernels::{Matrix, Team};
use std::sync::{Mutex, PoisonError};

/// How a task goes through its texts.
pub(super) struct Pass<'a> {
    /// The max number of tokens of a batch; what suits the device if none.
    pub(super) batch_tokens: Option<usize>,
    pub(super) cancel: &'a Cancel,
}

impl Module {
    /// The max length of a text: the model's limit, or a lower one that was asked for.
    pub(super) fn text_limit(&self, max_length: Option<usize>) -> Result<usize> {
        let limit = self.tokenizer()?.max_length();
        match max_length {
            Some(length) if !(1..=limit).contains(&length) => {
                let message = format!("found {length}, expected 1 to {limit}");
                Err(Error::new(ErrorKind::InvalidInput, message).at("max_length"))
            }
            length => Ok(length.unwrap_or(limit)),
        }
    }

    /// Encodes texts up to the limit.
    pub(super) fn encode_for_task(
        &self,
        texts: &[Text<'_>],
        long_texts: LongTexts,
        options: EncodeOptions,
    ) -> Result<Vec<Encoding>> {
        let _entered = crate::process::enter()?;
        let tokenizer = self.tokenizer()?;
        let limit = self.text_limit(options.max_length)?;
        let truncation = match options.truncation {
            _ if long_texts == LongTexts::Refuse => Truncation::DoNotTruncate,
            Truncation::DoNotTruncate => Truncation::LongestFirst,
            other => other,
        };
        let return_overflowing_tokens = long_texts == LongTexts::Window;
        let options = EncodeOptions { truncation, return_overflowing_tokens, ..options };
        let encodings = tokenizer.encode_batch(texts, &options)?;
        if let Some(long) = encodings.iter().find(|encoding| encoding.len() > limit) {
            let message = format!("found {} tokens, expected at most {limit}", long.len());
            return Err(Error::new(ErrorKind::InvalidInput, message).at_text(long.sample));
        }
        // The empty text, if the tokenizer adds no special tokens.
        if let Some(empty) = encodings.iter().find(|encoding| encoding.is_empty()) {
            let message = "found no tokens, expected at least one";
            return Err(Error::new(ErrorKind::InvalidInput, message).at_text(empty.sample));
        }
        Ok(encodings)
    }

    /// Runs encodings in batches, and returns what `each` makes of them with the indices of
    /// their encodings; it gets those indices and the batch, perhaps on several threads at
    /// once.
    pub(super) fn run_batches<R: Send>(
        &self,
        encodings: &[Encoding],
        pass: &Pass<'_>,
        each: impl Fn(&[usize], &BatchOf<'_>) -> Result<R> + Sync,
    ) -> Result<Vec<(Vec<usize>, R)>> {
        let _entered = self.enter()?;
        let limits = &self.exported()?.limits;
        let positions =
            self.archive().map_or(Positions::FromZero, |archive| archive.config().positions());
        let order = by_length(encodings)?;
        let lengths = collect(order.iter().map(|index| encodings[*index].len()))?;
        let results = Mutex::new(Vec::new());
        self.executor().for_each_batch(&lengths, pass.batch_tokens, &|sequences, team| {
            pass.check()?;
            let first = sequences.start;
            let indices = &order[sequences];
            let texts = collect(indices.iter().map(|index| &encodings[*index]))?;
            let batch = Batch::from_encodings(&texts, limits, positions)?;
            let result = each(indices, &BatchOf { module: self, batch: &batch, team })?;
            let entry = (first, (copied(indices)?, result));
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            reserve(&mut results, 1)?;
            results.push(entry);
            Ok(())
        })?;
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        // The same order in every run, whichever thread was first.
        results.sort_unstable_by_key(|(first, _)| *first);
        Ok(collect(results.into_iter().map(|(_, result)| result))?)
    }
}

/// A batch of a task, and what computes it.
pub(super) struct BatchOf<'a> {
    module: &'a Module,
    pub(super) batch: &'a Batch,
    pub(super) team: &'a dyn Team,
}

impl BatchOf<'_> {
    /// What is wanted of the batch.
    pub(super) fn forward(&self, want: &Want<'_>) -> Result<Vec<BatchOutput>> {
        self.module.executor().forward(self.batch, want, self.team)
    }

    /// The rows of outputs.
    pub(super) fn outputs<const N: usize>(&self, outputs: [usize; N]) -> Result<[Matrix<f32>; N]> {
        let found = self.forward(&Want::Outputs(&outputs))?.into_iter();
        let found: Vec<_> = found.map(BatchOutput::into_matrix).collect::<Result<_>>()?;
        let missing = |_| Error::new(ErrorKind::Archive, "the model lacks an output");
        found.try_into().map_err(missing)
    }

    /// An output's logits of each token, pooled to a row for each sequence.
    pub(super) fn splade(&self, output: usize, pooling: SpladePooling) -> Result<SparseRows> {
        self.module.executor().splade(self.batch, output, pooling, self.team)
    }

    /// The only one of what is wanted.
    pub(super) fn one(&self, want: &Want<'_>) -> Result<BatchOutput> {
        let missing = || Error::new(ErrorKind::Archive, "the model lacks an output");
        self.forward(want)?.pop().ok_or_else(missing)
    }
}

impl Pass<'_> {
    fn check(&self) -> Result<()> {
        match self.cancel.is_cancelled() {
            true => Err(Error::new(ErrorKind::Cancelled, "the task was cancelled")),
            false => Ok(()),
        }
    }
}

/// Indices of encodings, the longest first: if memory does not suffice, that shows at
/// once, and what threads do last is short.
fn by_length(encodings: &[Encoding]) -> Result<Vec<usize>> {
    let mut order = collect(0..encodings.len())?;
    order.sort_unstable_by_key(|index| (std::cmp::Reverse(encodings[*index].len()), *index));
    Ok(order)
}
