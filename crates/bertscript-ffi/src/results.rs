//! What the handles of results have in common: structures that point into the
//! handle's own texts.

use crate::pointers::c_text;
use serde::Serialize;
use std::ffi::{CString, c_char};

/// The results of a task, by text.
pub(crate) struct Results<T> {
    texts: Vec<OfText<T>>,
    json: CString,
    /// What the items point to; a text does not move when its owner does.
    _owned: Owned,
}

struct OfText<T> {
    items: Vec<T>,
    truncated: bool,
}

// SAFETY: the items point to texts that the same value owns and nobody changes.
unsafe impl<T> Send for Results<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Results<T> {}

/// Texts that items point to.
#[derive(Default)]
pub(crate) struct Owned(Vec<CString>);

impl Owned {
    /// Keeps a text, and points to it.
    pub(crate) fn keep(&mut self, text: &str) -> *const c_char {
        let text = c_text(text);
        let place = text.as_ptr();
        self.0.push(text);
        place
    }
}

impl<T> Results<T> {
    /// Brings the results of texts into C's form; `each` gives the items of one,
    /// and whether its end was cut off.
    pub(crate) fn new<R: Serialize>(
        found: &[R],
        mut each: impl FnMut(&R, &mut Owned) -> (Vec<T>, bool),
    ) -> Self {
        let mut owned = Owned::default();
        let texts = found.iter().map(|found| {
            let (items, truncated) = each(found, &mut owned);
            OfText { items, truncated }
        });
        let texts = texts.collect();
        let json = c_text(&serde_json::to_string(found).unwrap_or_default());
        Self { texts, json, _owned: owned }
    }

    pub(crate) fn count(&self) -> usize {
        self.texts.len()
    }

    /// The items of a text, none of one that is not there.
    pub(crate) fn items(&self, text: usize) -> &[T] {
        self.texts.get(text).map_or(&[], |text| &text.items)
    }

    pub(crate) fn item(&self, text: usize, index: usize) -> *const T {
        self.items(text).get(index).map_or(std::ptr::null(), |item| item)
    }

    pub(crate) fn truncated(&self, text: usize) -> i32 {
        self.texts.get(text).is_some_and(|text| text.truncated).into()
    }

    pub(crate) fn json(&self) -> *const c_char {
        self.json.as_ptr()
    }
}
