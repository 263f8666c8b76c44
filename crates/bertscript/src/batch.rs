//! Sequences without padding: the form of inputs between tokenizer and engine.

mod crossing;
mod inputs;

pub use inputs::Inputs;
pub(crate) use inputs::{CheckedInputs, Unpadded};

use crate::archive::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::family::spec::Positions;
use crate::memory::{collect, copied, with_capacity};
use crate::text::Encoding;
use bertscript_kernels::Keys;
use std::ops::Range;

/// Sequences without padding: the tokens of all, one sequence after the other. Its
/// values are within the bounds of the model.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    input_ids: Vec<i64>,
    token_type_ids: Vec<i64>,
    position_ids: Vec<i64>,
    columns: Vec<i64>,
    cu_seqlens: Vec<usize>,
    keys: Vec<Keys>,
    masked: Vec<bool>,
}

impl Batch {
    fn with_capacity(sequences: usize, tokens: usize) -> Result<Self> {
        let mut cu_seqlens = with_capacity(sequences + 1)?;
        cu_seqlens.push(0);
        Ok(Self {
            input_ids: with_capacity(tokens)?,
            token_type_ids: with_capacity(tokens)?,
            position_ids: with_capacity(tokens)?,
            columns: with_capacity(tokens)?,
            cu_seqlens,
            keys: with_capacity(sequences)?,
            masked: Vec::new(),
        })
    }

    /// Ids and token types of sequences of these lengths, all of which the model takes.
    pub(crate) fn new(
        ids: &[i64],
        types: &[i64],
        lengths: &[usize],
        positions: Positions,
    ) -> Result<Self> {
        let mut batch = Self::with_capacity(lengths.len(), ids.len())?;
        batch.input_ids.extend_from_slice(ids);
        batch.token_type_ids.extend_from_slice(types);
        let mut rest = ids;
        for length in lengths {
            let (own, others) = rest.split_at(*length);
            batch.end_sequence(positions.of(own).enumerate(), Keys::All);
            rest = others;
        }
        Ok(batch)
    }

    /// Encoded texts as they are, without padding.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] with the text, for what the tokenizer knows and the
    /// model does not.
    pub(crate) fn from_encodings(
        encodings: &[&Encoding],
        limits: &Limits,
        positions: Positions,
    ) -> Result<Self> {
        let tokens = encodings.iter().map(|encoding| encoding.len()).sum();
        let mut batch = Self::with_capacity(encodings.len(), tokens)?;
        for encoding in encodings {
            check(encoding, limits)?;
            batch.input_ids.extend_from_slice(&encoding.input_ids);
            match has_types(limits) {
                true => batch.token_type_ids.extend_from_slice(&encoding.token_type_ids),
                false => batch.token_type_ids.extend(encoding.token_type_ids.iter().map(|_| 0)),
            }
            batch.end_sequence(positions.of(&encoding.input_ids).enumerate(), Keys::All);
        }
        Ok(batch)
    }

    /// Ends a sequence, whose ids are in place, with the columns and the positions of its
    /// tokens.
    fn end_sequence(&mut self, positions: impl IntoIterator<Item = (usize, i64)>, keys: Keys) {
        for (column, position) in positions {
            self.columns.push(column as i64);
            self.position_ids.push(position);
        }
        self.cu_seqlens.push(self.position_ids.len());
        self.keys.push(keys);
    }

    /// Some of the sequences.
    pub(crate) fn slice(&self, sequences: Range<usize>) -> Result<Self> {
        let (first, last) = (self.cu_seqlens[sequences.start], self.cu_seqlens[sequences.end]);
        let starts = &self.cu_seqlens[sequences.start..=sequences.end];
        Ok(Self {
            input_ids: copied(&self.input_ids[first..last])?,
            token_type_ids: copied(&self.token_type_ids[first..last])?,
            position_ids: copied(&self.position_ids[first..last])?,
            columns: copied(&self.columns[first..last])?,
            cu_seqlens: collect(starts.iter().map(|start| start - first))?,
            keys: copied(&self.keys[sequences])?,
            masked: copied(self.masked.get(first..last).unwrap_or_default())?,
        })
    }

    /// The number of sequences, `N`.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The number of tokens, `T`.
    pub(crate) fn num_tokens(&self) -> usize {
        self.input_ids.len()
    }

    /// `[T]`
    pub(crate) fn input_ids(&self) -> &[i64] {
        &self.input_ids
    }

    /// `[T]`
    pub(crate) fn token_type_ids(&self) -> &[i64] {
        &self.token_type_ids
    }

    /// What the table of positions is looked up by, `[T]`
    pub(crate) fn position_ids(&self) -> &[i64] {
        &self.position_ids
    }

    /// Where each token is in its sequence, masked tokens counted, `[T]`: 0, 1, 2 ..
    pub(crate) fn columns(&self) -> &[i64] {
        &self.columns
    }

    /// Whether masked tokens are left out between others, so that tokens beside one another are
    /// farther apart than they look.
    pub(crate) fn has_holes(&self) -> bool {
        self.ranges().any(|range| {
            let last = self.columns[range.clone()].last();
            last.is_some_and(|column| *column as usize + 1 != range.len())
        })
    }

    /// More than any column
    pub(crate) fn width(&self) -> usize {
        self.columns.iter().max().map_or(0, |column| *column as usize + 1)
    }

    /// The index of each sequence's first token, and `T`: `[N+1]`
    pub(crate) fn cu_seqlens(&self) -> &[usize] {
        &self.cu_seqlens
    }

    /// What the tokens of each sequence attend to, `[N]`
    pub(crate) fn keys(&self) -> &[Keys] {
        &self.keys
    }

    /// Whether each token is masked, and in the batch all the same, `[T]`; empty if none is.
    pub(crate) fn masked(&self) -> &[bool] {
        &self.masked
    }

    /// The number of tokens of each sequence.
    pub(crate) fn lengths(&self) -> impl ExactSizeIterator<Item = usize> {
        self.cu_seqlens.windows(2).map(|pair| pair[1] - pair[0])
    }

    /// The tokens of each sequence.
    pub(crate) fn ranges(&self) -> impl ExactSizeIterator<Item = Range<usize>> {
        self.cu_seqlens.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// The number of tokens of the longest sequence.
    pub(crate) fn max_length(&self) -> usize {
        self.lengths().max().unwrap_or(0)
    }
}

/// The first value that is not in `0..count`, and its index.
fn out_of_bounds(values: &[i64], count: i64) -> Option<(usize, i64)> {
    values.iter().copied().enumerate().find(|(_, value)| !(0..count).contains(value))
}

/// Whether the model tells texts of a pair apart, as its tokenizer may do.
fn has_types(limits: &Limits) -> bool {
    limits.type_vocab_size > 1
}

fn check(encoding: &Encoding, limits: &Limits) -> Result<()> {
    let (length, max) = (encoding.len(), limits.max_position_embeddings);
    let message = if length as i64 > max {
        format!("found {length} tokens, expected at most {max}")
    } else if let Some((_, id)) = out_of_bounds(&encoding.input_ids, limits.vocab_size) {
        format!("found token {id}, expected 0 to {}", limits.vocab_size - 1)
    } else if let Some((_, id)) = out_of_bounds(&encoding.token_type_ids, limits.type_vocab_size)
        && has_types(limits)
    {
        format!("found token type {id}, expected 0 to {}", limits.type_vocab_size - 1)
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::InvalidInput, message).at_text(encoding.sample))
}

#[cfg(test)]
impl Batch {
    /// The same tokens, none of them padding, farther apart.
    pub(crate) fn at_columns(self, columns: &[i64]) -> Self {
        assert_eq!(columns.len(), self.columns.len());
        let first = self.position_ids[0];
        let position_ids = columns.iter().map(|column| first + column).collect();
        Self { columns: columns.to_vec(), position_ids, ..self }
    }
}
