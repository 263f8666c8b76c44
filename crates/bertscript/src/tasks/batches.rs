//! Many texts through a model: encoded, sorted by length, cut into batches.

use crate::archive::Limits;
use crate::device::Dtype;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{collect, copied, elements, reserve, try_collect, with_capacity};
use crate::module::{Inputs, Module, Outputs};
use crate::packed::{Packed, PackedInputs};
use crate::text::{EncodeOptions, Encoding, Text, Truncation};
use bertscript_kernels::Team;
use std::str::FromStr;
use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use tch::{Kind, Tensor};

/// The budget of a batch on the CPU, in tokens with padding, unless told otherwise.
const BATCH_TOKENS: usize = 4096;

/// That on a CUDA device, where a batch must take longer than launching it.
const BATCH_TOKENS_OF_CUDA: usize = 32768;

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
pub struct Cancel {
    asked: Arc<AtomicBool>,
    /// After how many looks it is cancelled.
    #[cfg(test)]
    looks: Option<Arc<AtomicUsize>>,
}

impl Cancel {
    /// Asks the task to stop before its next batch, with
    /// [`ErrorKind::Cancelled`].
    pub fn cancel(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked.
    pub fn is_cancelled(&self) -> bool {
        #[cfg(test)]
        if self.looks.as_ref().is_some_and(|looks| looks.fetch_sub(1, Ordering::Relaxed) == 1) {
            self.cancel();
        }
        self.asked.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
impl Cancel {
    /// Is cancelled when it is looked at for this time, from 1.
    pub(super) fn at_look(number: usize) -> Self {
        Self { asked: Arc::default(), looks: Some(Arc::new(AtomicUsize::new(number))) }
    }
}

/// How a task goes through its texts.
pub(super) struct Pass<'a> {
    pub(super) batch_tokens: usize,
    pub(super) cancel: &'a Cancel,
}

impl Module {
    /// How this module goes through texts.
    pub(super) fn pass<'a>(&self, batch_tokens: Option<usize>, cancel: &'a Cancel) -> Pass<'a> {
        let usual = match self.device() {
            tch::Device::Cpu => BATCH_TOKENS,
            _ => BATCH_TOKENS_OF_CUDA,
        };
        Pass { batch_tokens: batch_tokens.unwrap_or(usual), cancel }
    }

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
        let _entered = torchscript::enter()?;
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

    /// Runs encodings in batches, and returns what `each` makes of them with the
    /// numbers of their rows; it gets those numbers and the outputs, perhaps on
    /// several threads at once.
    pub(super) fn run_batches<R: Send>(
        &self,
        encodings: &[Encoding],
        pass: &Pass<'_>,
        each: impl Fn(&[usize], &Outputs) -> Result<R> + Sync,
    ) -> Result<Vec<(Vec<usize>, R)>> {
        let _entered = torchscript::enter()?;
        if let (Some(packed), Some(metadata)) = (self.packed()?, self.metadata()) {
            return self.run_packed(packed, encodings, pass, |rows, inputs, team| {
                let (outputs, lengths) = (packed.chunk(inputs, team)?, &inputs.lengths);
                let longest = lengths.iter().copied().max().unwrap_or(0);
                let shape = [lengths.len() as i64, longest as i64];
                let names = &metadata.outputs;
                let plan = self.plan();
                each(rows, &Outputs::padded(outputs, names, &shape, lengths, Dtype::F32, plan)?)
            });
        }
        let pad = self.tokenizer()?.pad_token_id();
        let fixed = self.metadata().map_or(&[][..], |metadata| &metadata.fixed_shapes);
        let batches = cut(encodings, pass.batch_tokens, fixed)?.into_iter().map(|rows| {
            pass.check()?;
            let batch = collect(rows.iter().map(|row| &encodings[*row]))?;
            let result = each(&rows, &self.run(&inputs(&batch, pad)?)?)?;
            Ok((rows, result))
        });
        try_collect(batches)
    }

    /// Runs encodings without padding, a chunk of texts after another. `each` gets the
    /// numbers of their rows, their tokens, and the threads to compute with, perhaps
    /// on several threads at once.
    pub(super) fn run_packed<R: Send>(
        &self,
        packed: &Packed,
        encodings: &[Encoding],
        pass: &Pass<'_>,
        each: impl Fn(&[usize], &PackedInputs, &dyn Team) -> Result<R> + Sync,
    ) -> Result<Vec<(Vec<usize>, R)>> {
        let _entered = torchscript::enter()?;
        if let Some(metadata) = self.metadata() {
            check(encodings, &metadata.limits)?;
        }
        let rows = by_length(encodings)?;
        let lengths = collect(rows.iter().map(|row| encodings[*row].len()))?;
        packed.each_chunk(&lengths, pass.batch_tokens, |range, team| {
            pass.check()?;
            let rows = &rows[range];
            let batch = collect(rows.iter().map(|row| &encodings[*row]))?;
            Ok((copied(rows)?, each(rows, &pack(&batch)?, team)?))
        })
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

/// Numbers of rows, the longest first: if memory does not suffice, that shows at
/// once, and what threads do last is short.
fn by_length(encodings: &[Encoding]) -> Result<Vec<usize>> {
    let mut order = collect(0..encodings.len())?;
    order.sort_unstable_by_key(|row| (std::cmp::Reverse(encodings[*row].len()), *row));
    Ok(order)
}

/// Refuses what the tokenizer knows and the model does not.
fn check(encodings: &[Encoding], limits: &Limits) -> Result<()> {
    let fits =
        |values: &[i64], count: i64| values.iter().copied().find(|id| !(0..count).contains(id));
    for encoding in encodings {
        let (length, most) = (encoding.len(), limits.max_position_embeddings);
        let message = if length as i64 > most {
            format!("found {length} tokens, expected at most {most}")
        } else if let Some(id) = fits(&encoding.input_ids, limits.vocab_size) {
            format!("found token {id}, expected 0 to {}", limits.vocab_size - 1)
        } else if let Some(id) = fits(&encoding.token_type_ids, limits.type_vocab_size) {
            format!("found token type {id}, expected 0 to {}", limits.type_vocab_size - 1)
        } else {
            continue;
        };
        return Err(Error::new(ErrorKind::InvalidInput, message).at_text(encoding.sample));
    }
    Ok(())
}

/// Rows without padding.
fn pack(batch: &[&Encoding]) -> Result<PackedInputs> {
    let lengths = collect(batch.iter().map(|encoding| encoding.len()))?;
    let tokens = lengths.iter().sum();
    let all = |values: fn(&Encoding) -> &[i64]| -> Result<_> {
        let mut all = with_capacity(tokens)?;
        batch.iter().for_each(|encoding| all.extend_from_slice(values(encoding)));
        Ok(all)
    };
    Ok(PackedInputs {
        input_ids: all(|encoding| &encoding.input_ids)?,
        token_type_ids: all(|encoding| &encoding.token_type_ids)?,
        lengths,
    })
}

/// Numbers of rows, sorted by length and cut so that a batch, filled up to its
/// longest row, keeps to the budget; of a program of fixed shapes, so that it
/// fits one of them.
fn cut(encodings: &[Encoding], budget: usize, fixed: &[Vec<i64>]) -> Result<Vec<Vec<usize>>> {
    let order = by_length(encodings)?;
    let mut batches = Vec::new();
    let mut rest = order.as_slice();
    while let Some(first) = rest.first() {
        let longest = encodings[*first].len().max(1);
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
        reserve(&mut batches, 1)?;
        batches.push(copied(batch)?);
        rest = others;
    }
    Ok(batches)
}

/// A batch filled up to its longest row.
fn inputs(batch: &[&Encoding], pad: i64) -> Result<Inputs> {
    let ids = filled(batch, |encoding| &encoding.input_ids, pad)?;
    let types = filled(batch, |encoding| &encoding.token_type_ids, 0)?;
    let inputs = Inputs::new(ids).token_type_ids(types);
    // Without padding there is nothing to mask, and the program is faster so.
    let longest = shape(batch)[1] as usize;
    let padded = batch.iter().any(|encoding| encoding.len() < longest);
    Ok(if padded { inputs.attention_mask(mask(batch)?) } else { inputs })
}

/// `[B,S]`
fn shape(batch: &[&Encoding]) -> [i64; 2] {
    let longest = batch.iter().map(|encoding| encoding.len()).max().unwrap_or(0);
    [batch.len() as i64, longest as i64]
}

/// `[B,S]`, 1 where there is a token.
pub(super) fn mask(batch: &[&Encoding]) -> Result<Tensor> {
    filled(batch, |encoding| &encoding.attention_mask, 0)
}

/// Values `[B,S]`, filled up with one.
fn filled(batch: &[&Encoding], values: fn(&Encoding) -> &[i64], fill: i64) -> Result<Tensor> {
    let shape = shape(batch);
    let mut all = with_capacity(batch.len() * shape[1] as usize)?;
    for encoding in batch {
        let values = values(encoding);
        all.extend_from_slice(values);
        all.extend(std::iter::repeat_n(fill, shape[1] as usize - values.len()));
    }
    Ok(Tensor::f_from_slice(&all)?.f_view(shape)?)
}

/// A tensor of an output as rows of numbers: `[.., N]` to as many rows of N.
pub(super) fn rows(tensor: &Tensor) -> Result<Vec<Vec<f32>>> {
    #[expect(clippy::disallowed_methods, reason = "works on results, records no trace")]
    let width = tensor.size().last().map_or(1, |width| *width as usize);
    let flat = tensor.f_to_device(tch::Device::Cpu)?.f_to_kind(Kind::Float)?.f_reshape([-1])?;
    Ok(try_collect(elements::<f32>(&flat)?.chunks(width.max(1)).map(copied))?)
}

/// `softmax` of one row.
pub(super) fn softmax(logits: &[f32]) -> Result<Vec<f32>> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials = collect(logits.iter().map(|logit| f64::from(logit - most).exp()))?;
    let sum: f64 = exponentials.iter().sum();
    Ok(collect(exponentials.iter().map(|value| (value / sum) as f32))?)
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

    fn of_lengths(lengths: &[usize]) -> Vec<Encoding> {
        let of_length =
            |length: &usize| Encoding { input_ids: vec![0; *length], ..Encoding::default() };
        lengths.iter().map(of_length).collect()
    }

    #[test]
    fn batches_keep_to_the_budget_and_lose_no_row() {
        let lengths = [3, 100, 7, 7, 1, 50, 2, 0];
        let encodings = of_lengths(&lengths);
        for budget in [1, 10, 100, 1000] {
            let batches = cut(&encodings, budget, &[]).unwrap();
            let mut all: Vec<_> = batches.concat();
            all.sort_unstable();
            assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
            for batch in batches {
                let longest = batch.iter().map(|row| lengths[*row]).max().unwrap();
                assert!(batch.len() == 1 || batch.len() * longest <= budget);
            }
        }
        assert!(cut(&[], 10, &[]).unwrap().is_empty());
    }

    #[test]
    fn batches_fit_a_fixed_shape() {
        let encodings = of_lengths(&[60, 10, 10, 10, 10]);
        let batches = cut(&encodings, 1 << 20, &[vec![1, 64], vec![3, 16]]).unwrap();
        assert_eq!(batches, [vec![0], vec![1, 2, 3], vec![4]]);
    }

    #[test]
    fn softmax_holds_for_great_values() {
        assert_eq!(softmax(&[1000., 1000.]).unwrap(), [0.5, 0.5]);
        assert_eq!(argmax(&[1., 3., 3.]), 1);
    }
}
