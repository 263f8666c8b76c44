//! Many texts through a model: encoded, sorted by length, cut into batches.

use crate::error::{Error, ErrorKind, Result};
use crate::models::Architecture;
use crate::module::{Inputs, Module, Outputs};
use crate::text::{EncodeOptions, Encoding, Text, Truncation};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tch::{Kind, Tensor};

/// The budget of a batch, in tokens with padding, unless told otherwise.
pub(super) const BATCH_TOKENS: usize = 4096;

/// What becomes of a text that is longer than the model takes. Nothing is cut
/// unseen: results say what was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LongTexts {
    /// Its end is cut off.
    #[default]
    Truncate,
    /// It is an error.
    Refuse,
    /// It is cut into windows, and the windows' results are brought together.
    Window,
}

impl FromStr for LongTexts {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "truncate" => Self::Truncate,
            "refuse" => Self::Refuse,
            "window" => Self::Window,
            _ => {
                let message =
                    format!("unknown choice {text:?}, expected truncate, refuse or window");
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
        })
    }
}

/// Stops a task from another thread. Clones belong together.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the task to stop before its next batch, with
    /// [`ErrorKind::Cancelled`].
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a task goes through its texts.
pub(super) struct Pass<'a> {
    pub(super) batch_tokens: usize,
    pub(super) cancel: &'a Cancel,
}

impl Module {
    /// Refuses a task that the model is not made for.
    pub(super) fn expect_architecture(&self, task: &str, known: &[Architecture]) -> Result<()> {
        let names = || known.iter().map(|known| known.name()).collect::<Vec<_>>().join(" or ");
        let Some(metadata) = self.metadata() else {
            let message = format!("{task} needs a file that bertscript exported, of {}", names());
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        let architecture = metadata.architecture()?;
        if known.contains(&architecture) {
            return Ok(());
        }
        let message = format!("{task} needs {}, but the file is a {architecture}", names());
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    /// Encodes texts up to the model's limit.
    pub(super) fn encode_for_task(
        &self,
        texts: &[Text<'_>],
        long_texts: LongTexts,
        options: EncodeOptions,
    ) -> Result<Vec<Encoding>> {
        let tokenizer = self.tokenizer()?;
        let limit = options.max_length.unwrap_or(tokenizer.max_length());
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
        Ok(encodings)
    }

    /// Runs encodings in batches. `each` gets the numbers of a batch's rows, its
    /// mask `[B,S]` and its outputs.
    pub(super) fn run_batches(
        &self,
        encodings: &[Encoding],
        pass: &Pass<'_>,
        mut each: impl FnMut(&[usize], &Tensor, &Outputs) -> Result<()>,
    ) -> Result<()> {
        let pad = self.tokenizer()?.pad_token_id();
        let lengths: Vec<_> = encodings.iter().map(Encoding::len).collect();
        let fixed = self.metadata().map_or(&[][..], |metadata| &metadata.fixed_shapes);
        for rows in cut(&lengths, pass.batch_tokens, fixed) {
            if pass.cancel.is_cancelled() {
                return Err(Error::new(ErrorKind::Cancelled, "the task was cancelled"));
            }
            let batch: Vec<_> = rows.iter().map(|row| &encodings[*row]).collect();
            let (inputs, mask) = inputs(&batch, pad)?;
            each(&rows, &mask, &self.run(&inputs)?)?;
        }
        Ok(())
    }
}

/// Numbers of rows, sorted by length and cut so that a batch, filled up to its
/// longest row, keeps to the budget; of a program of fixed shapes, so that it
/// fits one of them.
fn cut(lengths: &[usize], budget: usize, fixed: &[Vec<i64>]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    // The longest first: if memory does not suffice, that shows at once.
    order.sort_by_key(|row| std::cmp::Reverse(lengths[*row]));
    let mut batches = Vec::new();
    let mut rest = order.as_slice();
    while let Some(first) = rest.first() {
        let longest = lengths[*first].max(1);
        let most = match fixed {
            [] => budget / longest,
            shapes => {
                let fits = shapes
                    .iter()
                    .filter(|shape| shape.last().is_some_and(|s| *s as usize >= longest));
                fits.map(|shape| shape[0] as usize).max().unwrap_or(1)
            }
        };
        let (batch, others) = rest.split_at(most.clamp(1, rest.len()));
        batches.push(batch.to_vec());
        rest = others;
    }
    batches
}

/// A batch filled up to its longest row, and its mask.
fn inputs(batch: &[&Encoding], pad: i64) -> Result<(Inputs, Tensor)> {
    let longest = batch.iter().map(|encoding| encoding.len()).max().unwrap_or(0);
    let shape = [batch.len() as i64, longest as i64];
    let tensor = |values: fn(&Encoding) -> &[i64], fill: i64| -> Result<Tensor> {
        let mut all = Vec::with_capacity(batch.len() * longest);
        for encoding in batch {
            let values = values(encoding);
            all.extend_from_slice(values);
            all.extend(std::iter::repeat_n(fill, longest - values.len()));
        }
        Ok(Tensor::f_from_slice(&all)?.f_view(shape)?)
    };
    let ids = tensor(|encoding| &encoding.input_ids, pad)?;
    let types = tensor(|encoding| &encoding.token_type_ids, 0)?;
    let mask = tensor(|encoding| &encoding.attention_mask, 0)?;
    let inputs = Inputs::new(ids).token_type_ids(types);
    // Without padding there is nothing to mask, and the program is faster so.
    let padded = batch.iter().any(|encoding| encoding.len() < longest);
    Ok((if padded { inputs.attention_mask(mask.shallow_clone()) } else { inputs }, mask))
}

/// A tensor of an output as rows of numbers: `[.., N]` to as many rows of N.
pub(super) fn rows(tensor: &Tensor) -> Result<Vec<Vec<f32>>> {
    #[expect(clippy::disallowed_methods, reason = "works on results, records no trace")]
    let width = tensor.size().last().map_or(1, |width| *width as usize);
    let flat = tensor.f_to_device(tch::Device::Cpu)?.f_to_kind(Kind::Float)?.f_reshape([-1])?;
    let values = Vec::<f32>::try_from(&flat)?;
    Ok(values.chunks(width.max(1)).map(<[f32]>::to_vec).collect())
}

/// `softmax` of one row.
pub(super) fn softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<_> = logits.iter().map(|logit| f64::from(logit - most).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.iter().map(|value| (value / sum) as f32).collect()
}

/// The place of the greatest value, the first of equals.
pub(super) fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (place, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = place;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_keep_to_the_budget_and_lose_no_row() {
        let lengths = [3, 100, 7, 7, 1, 50, 2, 0];
        for budget in [1, 10, 100, 1000] {
            let batches = cut(&lengths, budget, &[]);
            let mut all: Vec<_> = batches.concat();
            all.sort_unstable();
            assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
            for batch in batches {
                let longest = batch.iter().map(|row| lengths[*row]).max().unwrap();
                assert!(batch.len() == 1 || batch.len() * longest <= budget);
            }
        }
        assert!(cut(&[], 10, &[]).is_empty());
    }

    #[test]
    fn batches_fit_a_fixed_shape() {
        let batches = cut(&[60, 10, 10, 10, 10], 1 << 20, &[vec![1, 64], vec![3, 16]]);
        assert_eq!(batches, [vec![0], vec![1, 2, 3], vec![4]]);
    }

    #[test]
    fn softmax_holds_for_great_values() {
        assert_eq!(softmax(&[1000., 1000.]), [0.5, 0.5]);
        assert_eq!(argmax(&[1., 3., 3.]), 1);
    }
}
