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

    /// The start of the character that a byte is of.
    pub(super) fn start(&self, byte: usize) -> usize {
        let Some(before) = &self.0 else { return byte };
        let count = before.get(byte);
        let is_same = |byte: &usize| count.is_some() && before.get(*byte) == count;
        (byte.saturating_sub(3)..byte).find(is_same).unwrap_or(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_within_a_character_are_of_it() {
        let text = "a\u{e9}\u{fdfa}\u{1f600}b";
        let chars = Chars::of(text).unwrap();
        for byte in 0..=text.len() {
            let start = (0..=byte).rev().find(|byte| text.is_char_boundary(*byte)).unwrap();
            assert_eq!(chars.start(byte), start);
            assert_eq!(chars.before(byte), text[..start].chars().count());
        }
        assert_eq!(chars.start(99), 99);
        assert_eq!(Chars::of("abc").unwrap().start(2), 2);
    }
}
