//! Inputs with every kind of value in them, to compare results on.

use crate::config::Config;
use crate::error::Result;
use crate::family::{Architecture, Dim};
use crate::memory::collect;
use crate::tensor::Tensor;

/// How many choices an example of multiple choice has.
const CHOICES: i64 = 3;

/// The attention mask of an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExampleMask {
    /// Rows of different lengths, with zeros at their ends.
    Padding,
    /// Zeros anywhere.
    Holes,
    /// As [`Self::Padding`], and a last row of nothing else.
    EmptyRow,
    None,
}

/// Inputs of a given shape: ids over the whole vocabulary, rows of different lengths, all token
/// types. The same each time.
#[derive(Debug)]
pub(crate) struct Example {
    pub(crate) input_ids: Tensor,
    pub(crate) attention_mask: Option<Tensor>,
    pub(crate) token_type_ids: Tensor,
}

impl Example {
    /// The shape of an input of this batch and length.
    pub(crate) fn shape(batch: i64, length: i64, architecture: Architecture) -> Vec<i64> {
        match architecture.input_shape() {
            [Dim::Batch, Dim::Sequence] => vec![batch, length],
            _ => vec![batch, CHOICES, length],
        }
    }

    /// Inputs of a shape for a model.
    pub(crate) fn new(shape: &[i64], mask: ExampleMask, config: &Config) -> Result<Self> {
        let length = shape.last().copied().unwrap_or(1);
        let rows = shape.iter().product::<i64>() / length.max(1);
        // Five lengths, from the whole row down to one token.
        let tokens = |row: i64| 1 + (length - 1) * (4 - row % 5) / 4;
        let is_token = |row: i64, column: i64| match mask {
            ExampleMask::Padding | ExampleMask::None => column < tokens(row),
            ExampleMask::Holes => (row + column) % 3 != 1,
            ExampleMask::EmptyRow => row + 1 < rows && column < tokens(row),
        };
        let attention_mask = filled(shape, |row, column| i64::from(is_token(row, column)))?;
        Ok(Self {
            // A prime far from any size walks through the vocabulary.
            input_ids: filled(shape, |row, column| {
                (row * 7919 + column * 104_729) % config.vocab_size()
            })?,
            attention_mask: (mask != ExampleMask::None).then_some(attention_mask),
            token_type_ids: filled(shape, |row, column| {
                (row + column * config.type_vocab_size() / length) % config.type_vocab_size()
            })?,
        })
    }
}

/// An int64 tensor of a shape, by row and column.
fn filled(shape: &[i64], value: impl Fn(i64, i64) -> i64) -> Result<Tensor> {
    let length = shape.last().copied().unwrap_or(1);
    let count: i64 = shape.iter().product();
    let values = collect((0..count).map(|i| value(i / length, i % length)))?;
    Tensor::new(values, shape.iter().map(|size| *size as usize).collect::<Vec<_>>())
}
