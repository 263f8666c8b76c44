//! Words of a text as BERT's normalizer and pre-tokenizer make them.

use super::bert_chars::{BertChars, Class};
use crate::error::Result;
use crate::memory::with_capacity;
use std::ops::ControlFlow;

/// A word that differs from the text it comes from.
pub(super) struct Word {
    bytes: Vec<u8>,
    limit: usize,
    /// Whether more belongs to it than is kept
    is_cut: bool,
}

impl Word {
    /// Keeps all of a word of at most so many characters.
    pub(super) fn new(max_chars: usize) -> Result<Self> {
        let limit = 4 * max_chars;
        Ok(Self { bytes: with_capacity(limit)?, limit, is_cut: false })
    }

    fn push(&mut self, bytes: &[u8]) {
        if bytes.len() <= self.limit - self.bytes.len() {
            self.bytes.extend_from_slice(bytes);
        } else {
            self.is_cut = true;
        }
    }

    fn push_ascii(&mut self, run: &[u8], chars: &BertChars) {
        if run.len() <= self.limit - self.bytes.len() {
            self.bytes.extend(run.iter().map(|byte| chars.ascii[usize::from(byte & 0x7f)]));
        } else {
            self.is_cut = true;
        }
    }

    /// Gives the word to `each`, unless it is empty, and empties it.
    fn end<B>(&mut self, each: &mut impl FnMut(&[u8], bool) -> ControlFlow<B>) -> ControlFlow<B> {
        if self.bytes.is_empty() && !self.is_cut {
            return ControlFlow::Continue(());
        }
        let flow = each(&self.bytes, self.is_cut);
        self.bytes.clear();
        self.is_cut = false;
        flow
    }
}

impl BertChars {
    /// Gives every word to `each`, and whether it is longer than what it is given; false where a
    /// character depends on those around it.
    pub(super) fn split<B>(
        &self,
        text: &str,
        word: &mut Word,
        each: &mut impl FnMut(&[u8], bool) -> ControlFlow<B>,
    ) -> ControlFlow<B, bool> {
        let bytes = text.as_bytes();
        let mut at = 0;
        loop {
            let start = at;
            let mut changes = 0;
            while let Some(byte) = bytes.get(at)
                && self.classes[usize::from(*byte)] == Class::Letter
            {
                changes |= byte ^ self.ascii[usize::from(*byte & 0x7f)];
                at += 1;
            }
            let run = &bytes[start..at];
            let class = bytes.get(at).map_or(Class::Space, |byte| self.classes[usize::from(*byte)]);
            let ends = matches!(class, Class::Space | Class::Single);
            if ends && changes == 0 && word.bytes.is_empty() && !word.is_cut {
                // Most words are in the text as they are.
                if !run.is_empty() {
                    each(run, false)?;
                }
            } else {
                word.push_ascii(run, self);
                if ends {
                    word.end(each)?;
                }
            }
            let Some(byte) = bytes.get(at) else { return ControlFlow::Continue(true) };
            if class != Class::Wide {
                if class == Class::Single {
                    each(&[self.ascii[usize::from(byte & 0x7f)]], false)?;
                }
                at += 1;
                continue;
            }
            let Some(character) = text[at..].chars().next() else {
                return ControlFlow::Continue(true);
            };
            at += character.len_utf8();
            let mapped = self.get(character);
            match mapped.class {
                Class::Letter => word.push(mapped.text),
                Class::Space => word.end(each)?,
                Class::Single => {
                    word.end(each)?;
                    each(mapped.text, false)?;
                }
                Class::Removed => {}
                Class::Wide | Class::Contextual => {
                    // The next text starts with an empty word.
                    word.bytes.clear();
                    word.is_cut = false;
                    return ControlFlow::Continue(false);
                }
            }
        }
    }
}
