//! Ids alone, without what tokens, offsets and words cost.

use super::encoding::{EncodeOptions, Encoding, Text, Truncation};
use super::frame::Frame;
use super::limits::check_memory;
use super::tokenizer::{Tokenizer, contained};
use super::tokenizer_json::failed;
use super::word_piece_ids::{Progress, WordPieceIds};
use crate::error::Result;
use crate::memory::{collect, filled, with_capacity};
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokenizers::TruncationDirection;

/// Bytes of text that the `tokenizers` crate encodes in the time that the tables of
/// [`WordPieceIds`] take to be made, about 30 ms: a program that encodes a text and ends does not
/// wait for them. Where texts are few and tables are to be tested, they are made at once.
pub(super) const TABLES_PAY_OFF: usize = if cfg!(fuzzing) { 0 } else { 64 << 10 };

/// How ids are encoded where nothing else is wanted.
pub(super) struct Ids {
    /// The pipeline of BERT, once its tables pay off; none of other tokenizers, whose ids are those
    /// of the `tokenizers` crate
    word_piece: OnceLock<Option<WordPieceIds>>,
    /// Bytes of text that were encoded without those tables
    encoded: AtomicUsize,
    /// What the post-processor adds to one text and to two, without and with special tokens; none
    /// if it has to say it itself
    frames: [[Option<Frame>; 2]; 2],
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ids").field("frames", &self.frames).finish_non_exhaustive()
    }
}

impl Ids {
    fn new(tokenizer: &Tokenizer) -> Self {
        let frame = |is_pair, add_special_tokens| {
            let process = |first, second| {
                contained(|| tokenizer.process(first, second, add_special_tokens)).ok()
            };
            Frame::of(is_pair, process)
        };
        Self {
            word_piece: OnceLock::new(),
            encoded: AtomicUsize::new(0),
            frames: [false, true].map(|is_pair| [false, true].map(|added| frame(is_pair, added))),
        }
    }

    /// The pipeline of BERT, if this is it and its tables pay off, with a text of so many bytes.
    fn word_piece(&self, tokenizer: &Tokenizer, bytes: usize) -> Option<&WordPieceIds> {
        if self.word_piece.get().is_none() {
            let before = self.encoded.fetch_add(bytes, Ordering::Relaxed);
            if before.saturating_add(bytes) < TABLES_PAY_OFF {
                return None;
            }
        }
        self.word_piece.get_or_init(|| WordPieceIds::new(&tokenizer.inner)).as_ref()
    }
}

impl Tokenizer {
    /// A text without details; none where windows are wanted of it, or its post-processor has no
    /// frame.
    pub(super) fn encode_ids(
        &self,
        is_literal: bool,
        sample: usize,
        text: Text<'_>,
        options: &EncodeOptions,
    ) -> Result<Option<Encoding>> {
        let ids = self.ids.get_or_init(|| Ids::new(self));
        let is_pair = text.text_pair.is_some();
        let frame = &ids.frames[usize::from(is_pair)][usize::from(options.add_special_tokens)];
        let Some(frame) = frame else { return Ok(None) };
        // One token too many tells that the text is cut. Of two texts, the lengths matter.
        let needs_all = options.truncation != Truncation::LongestFirst
            || is_pair
            || options.return_overflowing_tokens
            || self.truncation_side == TruncationDirection::Left;
        let limit = match needs_all {
            true => usize::MAX,
            false => self.room(false, options)?.map_or(usize::MAX, |room| room.saturating_add(1)),
        };
        let encode = |text: &str| self.text_ids(ids, text, is_literal, limit);
        let mut first = encode(text.text)?;
        let mut second = text.text_pair.map(encode).transpose()?;
        let kept = self.kept((first.len(), second.as_ref().map(Vec::len)), options)?;
        if kept.is_some() && options.return_overflowing_tokens {
            return Ok(None);
        }
        if let Some((keep_first, keep_second)) = kept {
            self.cut(&mut first, keep_first);
            second.iter_mut().for_each(|second| self.cut(second, keep_second));
        }
        let second = second.unwrap_or_default();
        let (input_ids, mut token_type_ids) = frame.fill(&first, &second)?;
        if !self.has_token_types {
            token_type_ids.fill(0);
        }
        Ok(Some(Encoding {
            sample,
            attention_mask: filled(input_ids.len(), 1)?,
            input_ids,
            token_type_ids,
            truncated: kept.is_some(),
            ..Encoding::default()
        }))
    }

    /// The ids of a text, at least `limit` of them if it has so many.
    fn text_ids(&self, ids: &Ids, text: &str, is_literal: bool, limit: usize) -> Result<Vec<i64>> {
        if let Some(word_piece) = ids.word_piece(self, text.len()) {
            let mut found = with_capacity((text.len() / 4 + 4).min(limit))?;
            if word_piece.append(text, is_literal, limit, &mut found)? != Progress::Contextual {
                return Ok(found);
            }
        }
        let tokenizer = self.inner(is_literal);
        check_memory(text.into(), tokenizer)?;
        let encoded = tokenizer.encode_fast(text, false).map_err(failed)?;
        Ok(collect(encoded.get_ids().iter().map(|id| i64::from(*id)))?)
    }

    fn cut(&self, ids: &mut Vec<i64>, keep: usize) {
        match self.truncation_side {
            TruncationDirection::Left => drop(ids.drain(..ids.len().saturating_sub(keep))),
            TruncationDirection::Right => ids.truncate(keep),
        }
    }
}

#[cfg(test)]
mod tests;
