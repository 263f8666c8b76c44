//! The windows of a text.

use super::chars::Chars;
use super::encoding::{EncodeOptions, Encoding, Text, Truncation};
use super::limits::{check_length, check_memory};
use super::tokenizer::{Tokenizer, invalid};
use super::tokenizer_json::failed;
use super::truncation::shares;
use crate::error::Result;
use crate::memory::{collect, try_collect};
use tokenizers::{Encoding as Raw, PostProcessor};

impl Tokenizer {
    /// The windows of a text, at least one. `is_literal`: special tokens are plain text.
    pub(super) fn encode_one(
        &self,
        is_literal: bool,
        sample: usize,
        text: Text<'_>,
        options: &EncodeOptions,
    ) -> Result<Vec<Encoding>> {
        check_length(sample, text)?;
        if !options.details
            && let Some(encoding) = self.encode_ids(is_literal, sample, text, options)?
        {
            return Ok(collect([encoding])?);
        }
        let tokenizer = self.inner(is_literal);
        check_memory(text, tokenizer)?;
        let encode = |text: &str| {
            let encoded = match options.details {
                true => tokenizer.encode(text, false),
                false => tokenizer.encode_fast(text, false),
            };
            encoded.map_err(failed)
        };
        let mut first = encode(text.text)?;
        let mut second = text.text_pair.map(encode).transpose()?;
        if let Some(second) = &mut second {
            second.set_type_ids(vec![1; second.len()]);
        }
        let truncated = self.truncate(&mut first, second.as_mut(), options)?;
        let mut whole = self.process(first, second, options.add_special_tokens)?;
        let further = whole.take_overflowing();
        let windows = std::iter::once(whole)
            .chain(further.into_iter().filter(|_| options.return_overflowing_tokens));
        let truncated = truncated && !options.return_overflowing_tokens;
        let chars = [Chars::of(text.text)?, Chars::of(text.text_pair.unwrap_or_default())?];
        let convert = |raw| {
            let mut encoding = Encoding::new(&raw, sample, truncated, options.details, &chars)?;
            if !self.has_token_types {
                encoding.token_type_ids.fill(0);
            }
            Ok(encoding)
        };
        try_collect(windows.map(convert))
    }

    /// Joins texts, and adds special tokens.
    pub(super) fn process(
        &self,
        first: Raw,
        second: Option<Raw>,
        add_special_tokens: bool,
    ) -> Result<Raw> {
        match &self.processor {
            Some(processor) => processor.process(first, second, add_special_tokens),
            None => <dyn PostProcessor>::default_process(
                [Some(first), second].into_iter().flatten().collect(),
                true,
            )
            .map(|encodings| Raw::merge(encodings, false)),
        }
        .map_err(failed)
    }

    /// How many tokens a text, or two, may have beside special tokens; none if there is no limit.
    pub(super) fn room(&self, is_pair: bool, options: &EncodeOptions) -> Result<Option<usize>> {
        if options.truncation == Truncation::DoNotTruncate {
            return Ok(None);
        }
        let most = options.max_length.unwrap_or(self.max_length);
        let added = match &self.processor {
            Some(processor) if options.add_special_tokens => processor.added_tokens(is_pair),
            _ => 0,
        };
        most.checked_sub(added).map(Some).ok_or_else(|| {
            let message = format!("found {most}, expected room for {added} special tokens");
            invalid("max_length", message)
        })
    }

    /// How many tokens of a text, or two, are kept; none if all are.
    pub(super) fn kept(
        &self,
        lengths: (usize, Option<usize>),
        options: &EncodeOptions,
    ) -> Result<Option<(usize, usize)>> {
        let Some(room) = self.room(lengths.1.is_some(), options)? else { return Ok(None) };
        let kept = shares(lengths, room, options.truncation)?;
        for (length, keep) in [(lengths.0, kept.0), (lengths.1.unwrap_or(0), kept.1)] {
            if length > keep && keep > 0 && options.stride >= keep {
                let message = format!(
                    "found {}, expected less than the {keep} tokens of a window",
                    options.stride
                );
                return Err(invalid("stride", message));
            }
        }
        Ok(Some(kept).filter(|kept| *kept != (lengths.0, lengths.1.unwrap_or(0))))
    }

    /// Cuts a text, or two, to the maximum length; whether anything was cut.
    fn truncate(
        &self,
        first: &mut Raw,
        second: Option<&mut Raw>,
        options: &EncodeOptions,
    ) -> Result<bool> {
        let lengths = (first.len(), second.as_ref().map(|second| second.len()));
        let Some(kept) = self.kept(lengths, options)? else { return Ok(false) };
        let texts = [(Some(first), kept.0), (second, kept.1)];
        for (index, (encoding, keep)) in texts.into_iter().enumerate() {
            let Some(encoding) = encoding.filter(|encoding| encoding.len() > keep) else {
                continue;
            };
            encoding.truncate(keep, options.stride, self.truncation_side);
            // The crate numbers the texts of the first window only, but for its post-processors.
            encoding.get_overflowing_mut().iter_mut().for_each(|part| part.set_sequence_id(index));
        }
        Ok(true)
    }
}
