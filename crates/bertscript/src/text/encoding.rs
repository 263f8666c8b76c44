//! What goes into a tokenizer and what comes out.

use super::chars::Chars;
use super::settings::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{check, collect, copied, reserve};
use serde::Serialize;
use std::str::FromStr;
use tokenizers::{Encoding as Raw, PaddingDirection, PaddingParams, Tokenizer};

/// A text, or two that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a> {
    /// The text, or the first of two.
    pub text: &'a str,
    /// The second of two.
    pub text_pair: Option<&'a str>,
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self { text, text_pair: None }
    }
}

impl<'a> From<&'a String> for Text<'a> {
    fn from(text: &'a String) -> Self {
        Self::from(text.as_str())
    }
}

impl<'a> From<(&'a str, &'a str)> for Text<'a> {
    fn from((text, text_pair): (&'a str, &'a str)) -> Self {
        Self { text, text_pair: Some(text_pair) }
    }
}

/// What is taken away from a sequence that is too long. The words are
/// transformers'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Truncation {
    /// Nothing.
    #[default]
    DoNotTruncate,
    /// Tokens of whichever text is longer.
    LongestFirst,
    /// Tokens of the first text.
    OnlyFirst,
    /// Tokens of the second text.
    OnlySecond,
}

impl FromStr for Truncation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "do_not_truncate" => Self::DoNotTruncate,
            "longest_first" => Self::LongestFirst,
            "only_first" => Self::OnlyFirst,
            "only_second" => Self::OnlySecond,
            _ => {
                let known = "do_not_truncate, longest_first, only_first, only_second";
                return Err(unknown("truncation", text, known));
            }
        })
    }
}

/// How short sequences are padded. The words are transformers'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Padding {
    /// Not at all.
    #[default]
    DoNotPad,
    /// To the longest of the batch.
    Longest,
    /// To the maximum length.
    MaxLength,
}

impl FromStr for Padding {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "do_not_pad" => Self::DoNotPad,
            "longest" => Self::Longest,
            "max_length" => Self::MaxLength,
            _ => return Err(unknown("padding", text, "do_not_pad, longest, max_length")),
        })
    }
}

pub(crate) fn unknown(what: &str, found: &str, known: &str) -> Error {
    let message = format!("unknown {what} {found:?}, expected {known}");
    Error::new(ErrorKind::InvalidInput, message)
}

/// How to encode. The names and the defaults are those of transformers'
/// `PreTrainedTokenizerBase.__call__`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Whether `[CLS]` and `[SEP]` are added.
    pub add_special_tokens: bool,
    /// Whether special tokens in the text are read as plain text, as untrusted
    /// text should be; if none, as `tokenizer_config.json` says.
    pub split_special_tokens: Option<bool>,
    /// What is taken away from a sequence that is too long.
    pub truncation: Truncation,
    /// The maximum length, special tokens included; the model's if none.
    pub max_length: Option<usize>,
    /// How many tokens a window shares with the one before.
    pub stride: usize,
    /// Whether what was taken away comes back as further windows.
    pub return_overflowing_tokens: bool,
    /// How short sequences are padded.
    pub padding: Padding,
    /// Fill up to a multiple of this.
    pub pad_to_multiple_of: Option<usize>,
    /// Whether tokens, offsets, words and sequences are wanted too. Without
    /// them encoding is faster.
    pub details: bool,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            add_special_tokens: true,
            split_special_tokens: None,
            truncation: Truncation::default(),
            max_length: None,
            stride: 0,
            return_overflowing_tokens: false,
            padding: Padding::default(),
            pad_to_multiple_of: None,
            details: true,
        }
    }
}

/// What a token takes as a text of its own, about.
const BYTES_OF_TOKEN: usize = 64;

/// One sequence of tokens, as the model takes it. All lists are equally long;
/// those from `tokens` on are empty where [`EncodeOptions::details`] is off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Encoding {
    /// The text that it comes from, by number (transformers'
    /// `overflow_to_sample_mapping`).
    pub sample: usize,
    /// The ids of the tokens.
    pub input_ids: Vec<i64>,
    /// 0 for the first text, 1 for the second.
    pub token_type_ids: Vec<i64>,
    /// 1 for a token, 0 for padding.
    pub attention_mask: Vec<i64>,
    /// Whether tokens are missing here that no further window has.
    pub truncated: bool,
    /// 1 for what is not of the text: `[CLS]`, `[SEP]`, padding.
    pub special_tokens_mask: Vec<i64>,
    /// The tokens.
    pub tokens: Vec<String>,
    /// Where each token stands in its text, in bytes.
    pub offsets: Vec<(usize, usize)>,
    /// Where each token stands in its text, in characters (transformers'
    /// `offset_mapping`).
    pub char_offsets: Vec<(usize, usize)>,
    /// The word of each token, by number; none for special tokens.
    pub word_ids: Vec<Option<u32>>,
    /// 0 for the first text, 1 for the second, none for special tokens.
    pub sequence_ids: Vec<Option<usize>>,
}

impl Encoding {
    /// What the `tokenizers` crate says of a window.
    pub(super) fn new(
        raw: &Raw,
        sample: usize,
        truncated: bool,
        details: bool,
        chars: &[Chars; 2],
    ) -> Result<Self> {
        // A special token of `tokenizer.json` may have more ids than texts.
        let lists = [
            ("token types", raw.get_type_ids().len()),
            ("tokens", raw.get_tokens().len()),
            ("offsets", raw.get_offsets().len()),
            ("words", raw.get_word_ids().len()),
            ("places in the mask", raw.get_attention_mask().len()),
            ("places in the mask of special tokens", raw.get_special_tokens_mask().len()),
        ];
        if let Some((list, length)) = lists.iter().find(|(_, length)| *length != raw.len()) {
            let message = format!("the tokenizer gives {length} {list}, expected {}", raw.len());
            return Err(Error::new(ErrorKind::Config, message));
        }
        let wide = |ids: &[u32]| collect(ids.iter().map(|id| i64::from(*id)));
        let mut encoding = Self {
            sample,
            input_ids: wide(raw.get_ids())?,
            token_type_ids: wide(raw.get_type_ids())?,
            attention_mask: wide(raw.get_attention_mask())?,
            truncated,
            ..Self::default()
        };
        if details {
            encoding.special_tokens_mask = wide(raw.get_special_tokens_mask())?;
            encoding.tokens = collect(raw.get_tokens().iter().cloned())?;
            encoding.word_ids = copied(raw.get_word_ids())?;
            // Not all at once: where a template leaves the first text out, the tokens of the
            // second one would be told to be the first one's.
            let sequences = (0..raw.len()).map(|token| raw.token_to_sequence(token));
            encoding.sequence_ids = collect(sequences)?;
            let of = |sequence: &Option<usize>| &chars[sequence.unwrap_or(0).min(1)];
            // Where a space was put before a text, its first token ends within a character.
            let places = raw.get_offsets().iter().zip(&encoding.sequence_ids);
            let to_starts = |((start, end), sequence): (&(usize, usize), &Option<usize>)| {
                (of(sequence).start(*start), of(sequence).start(*end))
            };
            encoding.offsets = collect(places.map(to_starts))?;
            let places = encoding.offsets.iter().zip(&encoding.sequence_ids);
            let to_chars = |((start, end), sequence): (&(usize, usize), &Option<usize>)| {
                (of(sequence).before(*start), of(sequence).before(*end))
            };
            encoding.char_offsets = collect(places.map(to_chars))?;
        }
        Ok(encoding)
    }

    /// Number of tokens, padding included.
    pub fn len(&self) -> usize {
        self.input_ids.len()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.input_ids.is_empty()
    }

    /// Fills up to `length` on either side.
    pub(super) fn pad(&mut self, length: usize, pad: &PadToken, details: bool) -> Result<()> {
        let missing = length.saturating_sub(self.len());
        let left = pad.left;
        extend(&mut self.input_ids, missing, &pad.id, left)?;
        extend(&mut self.token_type_ids, missing, &0, left)?;
        extend(&mut self.attention_mask, missing, &0, left)?;
        if details {
            check(missing * BYTES_OF_TOKEN)?;
            extend(&mut self.special_tokens_mask, missing, &1, left)?;
            extend(&mut self.tokens, missing, &pad.token, left)?;
            extend(&mut self.offsets, missing, &(0, 0), left)?;
            extend(&mut self.char_offsets, missing, &(0, 0), left)?;
            extend(&mut self.word_ids, missing, &None, left)?;
            extend(&mut self.sequence_ids, missing, &None, left)?;
        }
        Ok(())
    }
}

/// What fills up short sequences, and on which side.
#[derive(Debug, Clone)]
pub(super) struct PadToken {
    pub(super) id: i64,
    pub(super) token: String,
    pub(super) left: bool,
}

impl PadToken {
    /// That of the settings, or as in transformers, where no file names one and the class has
    /// none, that of the padding in `tokenizer.json`.
    pub(super) fn of(
        settings: &Settings,
        tokenizer: &Tokenizer,
        padding: Option<&PaddingParams>,
    ) -> Result<Option<Self>> {
        let is_left = |padding: &PaddingParams| matches!(padding.direction, PaddingDirection::Left);
        let left = settings.is_left("padding_side", padding.is_some_and(is_left))?;
        let named = |token: String| {
            Some(Self { id: i64::from(tokenizer.token_to_id(&token)?), token, left })
        };
        let own = settings.special_token("pad_token")?.and_then(named);
        let of_padding = || match settings.get("pad_token") {
            None => padding.and_then(|padding| named(padding.pad_token.clone())),
            Some(_) => None,
        };
        Ok(own.or_else(of_padding))
    }
}

fn extend<T: Clone>(values: &mut Vec<T>, missing: usize, value: &T, left: bool) -> Result<()> {
    reserve(values, missing)?;
    let at = if left { 0 } else { values.len() };
    values.splice(at..at, std::iter::repeat_n(value.clone(), missing));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assets::Assets;
    use crate::text::Tokenizer;
    use serde_json::json;

    #[test]
    #[cfg_attr(miri, ignore = "takes long")]
    fn windows_know_their_texts_without_a_post_processor() {
        let model = json!({"type": "WordPiece", "unk_token": "u", "max_input_chars_per_word": 100,
            "continuing_subword_prefix": "##", "vocab": {"u": 0, "a": 1, "\u{e9}": 2}});
        let json = json!({"version": "1.0", "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null,
            "decoder": null, "model": model});
        let file = ("tokenizer.json".to_owned(), json.to_string().into_bytes());
        let tokenizer = Tokenizer::from_assets(&[file].into_iter().collect::<Assets>()).unwrap();
        let options = EncodeOptions {
            truncation: Truncation::OnlySecond,
            max_length: Some(3),
            return_overflowing_tokens: true,
            details: true,
            ..EncodeOptions::default()
        };
        let windows = tokenizer.encode(("a", "\u{e9} \u{e9} \u{e9} \u{e9}"), &options).unwrap();
        assert_eq!(windows.len(), 2);
        for (window, first) in windows.iter().zip([0, 4]) {
            assert_eq!(window.sequence_ids, [Some(0), Some(1), Some(1)]);
            let offsets = [(0, 1), (first, first + 1), (first + 2, first + 3)];
            assert_eq!(window.char_offsets, offsets);
        }
    }
}
