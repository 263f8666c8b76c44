//! Texts of the caller.

use crate::failure::Failure;
use crate::pointers::{array, text, text_of};
use bertscript::Text;
use bertscript_kernels::memory::{collect, try_collect};
use std::ffi::c_char;

/// Texts as a caller gives them.
#[derive(Clone, Copy)]
pub(crate) struct Given {
    pub(crate) name: &'static str,
    pub(crate) texts: *const *const c_char,
    /// In bytes; NULL if the texts end with NUL
    pub(crate) lengths: *const usize,
}

impl Given {
    /// # Safety
    /// `texts` is NULL or has `count` pointers to texts, each of the length that
    /// stands in `lengths`, or NUL-terminated if that is NULL.
    pub(crate) unsafe fn read<'a>(self, count: usize) -> Result<Vec<&'a str>, Failure> {
        // SAFETY: by the contract of this function.
        let pointers = unsafe { array(self.texts, count, self.name)? };
        let each = pointers.iter().enumerate().map(|(index, pointer)| {
            let name = format!("{}[{index}]", self.name);
            if self.lengths.is_null() {
                // SAFETY: as above.
                return unsafe { text(*pointer, &name) };
            }
            // SAFETY: as above.
            unsafe { text_of(*pointer, *self.lengths.add(index), &name) }
        });
        try_collect(each)
    }

    /// Texts with a second text each, if there are second ones.
    ///
    /// # Safety
    /// That of [`Self::read`], for both.
    pub(crate) unsafe fn read_pairs<'a>(
        self,
        seconds: Self,
        count: usize,
    ) -> Result<Vec<Text<'a>>, Failure> {
        // SAFETY: by the contract of this function.
        let texts = unsafe { self.read(count)? };
        if seconds.texts.is_null() {
            return Ok(collect(texts.into_iter().map(Text::from))?);
        }
        // SAFETY: as above.
        let seconds = unsafe { seconds.read(count)? };
        Ok(collect(texts.into_iter().zip(seconds).map(Text::from))?)
    }
}
