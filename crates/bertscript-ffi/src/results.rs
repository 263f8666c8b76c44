//! What the handles of results have in common: structures that point into the
//! handle's own texts.

use crate::failure::Failure;
use crate::pointers::c_text;
use bertscript_kernels::OutOfMemory;
use bertscript_kernels::memory::{HEADROOM, check, reserve, try_collect};
use serde::Serialize;
use std::ffi::{CString, c_char};
use std::io;

/// The results of a task, by text.
pub(crate) struct Results<T> {
    texts: Vec<OfText<T>>,
    /// With a NUL at its end.
    json: Vec<u8>,
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
    pub(crate) fn keep(&mut self, text: &str) -> Result<*const c_char, OutOfMemory> {
        check(HEADROOM + 2 * text.len())?;
        reserve(&mut self.0, 1)?;
        let text = c_text(text);
        let place = text.as_ptr();
        self.0.push(text);
        Ok(place)
    }
}

impl<T> Results<T> {
    /// Brings the results of texts into C's form; `each` gives the items of one,
    /// and whether it was truncated.
    pub(crate) fn new<R: Serialize>(
        found: &[R],
        mut each: impl FnMut(&R, &mut Owned) -> Result<(Vec<T>, bool), OutOfMemory>,
    ) -> Result<Self, Failure> {
        let mut owned = Owned::default();
        let texts = found.iter().map(|found| -> Result<_, OutOfMemory> {
            let (items, truncated) = each(found, &mut owned)?;
            Ok(OfText { items, truncated })
        });
        let texts = try_collect(texts)?;
        let mut json = Json(Vec::new());
        // Nothing else can fail: results have a form in JSON.
        serde_json::to_writer(&mut json, found).map_err(|_| json.out_of_memory())?;
        reserve(&mut json.0, 1)?;
        json.0.push(0);
        Ok(Self { texts, json: json.0, _owned: owned })
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
        self.json.as_ptr().cast()
    }
}

/// What JSON is written to.
struct Json(Vec<u8>);

impl Json {
    fn out_of_memory(&self) -> OutOfMemory {
        OutOfMemory { bytes: 2 * self.0.len() }
    }
}

impl io::Write for Json {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        reserve(&mut self.0, bytes.len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
