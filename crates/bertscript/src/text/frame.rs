//! What a post-processor adds to ids, known without running it for each text.

use crate::error::Result;
use crate::memory::with_capacity;
use tokenizers::{Encoding as Raw, Token};

/// A part of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Special(i64),
    First,
    Second,
}

/// The parts of a sequence, each with its token type.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame(Vec<(Part, i64)>);

impl Frame {
    /// Reads the frame from what `process` returns for texts of one token. Returns none if that is
    /// no frame.
    ///
    /// No post-processor of the tokenizers crate looks at ids: what differs for other ids is the
    /// texts.
    pub(super) fn of(
        is_pair: bool,
        process: impl Fn(Raw, Option<Raw>) -> Option<Raw>,
    ) -> Option<Self> {
        let text = |id, kind| Raw::from_tokens(vec![Token::new(id, String::new(), (0, 0))], kind);
        let probe = |first, second| process(text(first, 0), is_pair.then(|| text(second, 1)));
        let (one, other) = (probe(0, 1)?, probe(2, 3)?);
        // A special token of `tokenizer.json` may have more ids than texts: that is an error.
        let is_whole = |raw: &Raw| {
            [
                raw.get_type_ids().len(),
                raw.get_tokens().len(),
                raw.get_offsets().len(),
                raw.get_word_ids().len(),
                raw.get_special_tokens_mask().len(),
                raw.get_attention_mask().iter().filter(|mask| **mask == 1).count(),
            ]
            .iter()
            .all(|length| *length == one.len())
        };
        if !is_whole(&one) || !is_whole(&other) {
            return None;
        }
        let ids = one.get_ids().iter().zip(other.get_ids());
        let parts = ids.zip(one.get_type_ids()).map(|(ids, kind)| {
            let part = match ids {
                (0, 2) => Part::First,
                (1, 3) => Part::Second,
                (id, same) if id == same => Part::Special(i64::from(*id)),
                _ => return None,
            };
            Some((part, i64::from(*kind)))
        });
        parts.collect::<Option<Vec<_>>>().map(Self)
    }

    /// The ids of a sequence and their token types.
    pub(super) fn fill(&self, first: &[i64], second: &[i64]) -> Result<(Vec<i64>, Vec<i64>)> {
        let length = |part: &Part| match part {
            Part::Special(_) => 1,
            Part::First => first.len(),
            Part::Second => second.len(),
        };
        let total = self.0.iter().map(|(part, _)| length(part)).sum();
        let mut ids = with_capacity(total)?;
        for (part, _) in &self.0 {
            match part {
                Part::Special(id) => ids.push(*id),
                Part::First => ids.extend_from_slice(first),
                Part::Second => ids.extend_from_slice(second),
            }
        }
        let types = self.0.iter().flat_map(|(part, kind)| std::iter::repeat_n(*kind, length(part)));
        let mut token_types = with_capacity(total)?;
        token_types.extend(types);
        Ok((ids, token_types))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::PostProcessor;
    use tokenizers::processors::bert::BertProcessing;

    #[test]
    fn special_tokens_with_the_ids_of_a_probe_are_special() {
        let bert = BertProcessing::new(("s".to_owned(), 0), ("c".to_owned(), 3));
        let frame =
            Frame::of(true, |first, second| bert.process(first, second, true).ok()).unwrap();
        let (ids, types) = frame.fill(&[7, 8], &[9]).unwrap();
        assert_eq!(ids, [3, 7, 8, 0, 9, 0]);
        assert_eq!(types, [0, 0, 0, 0, 1, 1]);
        let (ids, types) = frame.fill(&[], &[]).unwrap();
        assert_eq!((ids, types), (vec![3, 0, 0], vec![0, 0, 1]));
        assert_eq!(Frame::of(false, |_, _| None), None);
    }
}
