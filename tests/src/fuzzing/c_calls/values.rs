//! Arguments, made of what the fuzzer gives.

use super::Sequence;
use arbitrary::Result;
use std::ffi::{CStr, CString};

impl Sequence<'_> {
    /// Small, or beyond all memory.
    pub(super) fn size(&mut self) -> Result<usize> {
        let small = [0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 64];
        let huge = [1 << 32, usize::MAX / 8, usize::MAX / 2, usize::MAX];
        self.one(&small, &huge)
    }

    pub(super) fn int64(&mut self) -> Result<i64> {
        let odd = [-1, 1 << 32, i64::MAX / 2, i64::MAX, i64::MIN];
        self.one(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 16], &odd)
    }

    /// The numbers of all dtypes among them.
    pub(super) fn int32(&mut self) -> Result<i32> {
        self.one(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], &[-1, i32::MIN, i32::MAX])
    }

    fn one<T: Copy>(&mut self, usual: &[T], odd: &[T]) -> Result<T> {
        let among = if self.input.ratio(1, 8)? { odd } else { usual };
        self.input.choose(among).copied()
    }

    /// A token id of the fixtures, or any number.
    pub(super) fn id(&mut self) -> Result<i64> {
        match self.input.ratio(1, 16)? {
            true => self.input.arbitrary(),
            false => self.input.int_in_range(0..=63),
        }
    }

    pub(super) fn shape(&mut self) -> Result<Vec<i64>> {
        (0..self.input.int_in_range(0..=4)?).map(|_| self.int64()).collect()
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>> {
        let length = self.input.int_in_range(0..=600)?;
        Ok(self.input.bytes(length.min(self.input.len()))?.to_vec())
    }

    pub(super) fn input_name(&mut self) -> Result<&'static CStr> {
        let names = [c"input_ids", c"attention_mask", c"token_type_ids", c"", c"x", c"\xff"];
        self.input.choose(&names).copied()
    }

    /// A path, or something else.
    pub(super) fn path(&mut self, path: CString) -> Result<CString> {
        if self.input.arbitrary()? { Ok(path) } else { self.word() }
    }

    /// A word that some function knows, or any text.
    pub(super) fn word(&mut self) -> Result<CString> {
        const KNOWN: [&CStr; 26] = [
            c"cpu",
            c"cuda:0",
            c"float32",
            c"bfloat16",
            c"float16",
            c"scripted",
            c"packed",
            c"longest_first",
            c"only_first",
            c"only_second",
            c"do_not_truncate",
            c"longest",
            c"max_length",
            c"do_not_pad",
            c"truncate",
            c"error",
            c"mean",
            c"cls",
            c"softmax",
            c"sigmoid",
            c"none",
            c"simple",
            c"first",
            c"max",
            c"query",
            c"the",
        ];
        if self.input.ratio(7, 8)? {
            return Ok((*self.input.choose(&KNOWN)?).to_owned());
        }
        let text = self.text()?;
        Ok(CString::new(text.split(|byte| *byte == 0).next().unwrap_or_default()).unwrap())
    }

    /// Any bytes, or words of the fixtures' vocabularies.
    pub(super) fn text(&mut self) -> Result<Vec<u8>> {
        let words = ["the cat", "[MASK]", "[SEP]", "big city.", "é中文", "", "\u{1f600}", "\0"];
        if self.input.ratio(1, 4)? {
            return self.bytes();
        }
        let count = self.input.int_in_range(0..=6)?;
        let words = (0..count).map(|_| self.input.choose(&words).copied());
        Ok(words.collect::<Result<Vec<_>>>()?.join(" ").into_bytes())
    }
}
