//! From offsets in bytes to offsets in characters.

use crate::error::Result;
use crate::memory::with_capacity;

/// The number of characters before each byte of a text that is not ASCII.
pub(super) struct Chars(Option<Vec<usize>>);

impl Chars {
    pub(super) fn of(text: &str) -> Result<Self> {
        if text.is_ascii() {
            return Ok(Self(None));
        }
        let mut count = 0;
        let mut before = with_capacity(text.len() + 1)?;
        for character in text.chars() {
            before.extend(std::iter::repeat_n(count, character.len_utf8()));
            count += 1;
        }
        before.push(count);
        Ok(Self(Some(before)))
    }

    pub(super) fn before(&self, byte: usize) -> usize {
        self.0.as_ref().map_or(byte, |before| before.get(byte).copied().unwrap_or(byte))
    }
}
