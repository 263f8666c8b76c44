//! The encoding handle: what a tokenizer made of texts.

use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::pointers::{c_text, free, get, place};
use crate::status::{BERTSCRIPT_INVALID_ARGUMENT, bertscript_status};
use crate::tensor::bertscript_tensor;
use bertscript::{Encoding, Tensor};
use bertscript_kernels::OutOfMemory;
use bertscript_kernels::memory::{HEADROOM, check, collect, try_collect, with_capacity};
use std::ffi::{CString, c_char};
use std::ptr::null;

/// Texts as token ids: rows of equally long lists.
///
/// Ownership: the caller frees it.
/// Thread safety: it never changes; any thread may read it.
pub struct bertscript_encoding(Vec<Row>);

/// An encoding with its lists in C's form; the rest is read from where it is.
struct Row {
    encoding: Encoding,
    tokens: Vec<CString>,
    /// Start and end in turn, as of `char_offsets`
    offsets: Vec<usize>,
    char_offsets: Vec<usize>,
    word_ids: Vec<i64>,
    sequence_ids: Vec<i64>,
}

/// What the name of a token takes, about, while it is brought into C's form.
const NEEDED_PER_TOKEN: usize = 128;

impl bertscript_encoding {
    pub(crate) fn new(encodings: Vec<Encoding>) -> Result<*mut Self, Failure> {
        let flat = |pairs: &[(usize, usize)]| -> Result<_, OutOfMemory> {
            let mut flat = with_capacity(2 * pairs.len())?;
            flat.extend(pairs.iter().flat_map(|(a, b)| [*a, *b]));
            Ok(flat)
        };
        let rows = encodings.into_iter().map(|encoding| -> Result<_, OutOfMemory> {
            check(HEADROOM + encoding.tokens.len() * NEEDED_PER_TOKEN)?;
            let word = |id: &Option<u32>| id.map_or(-1, i64::from);
            let sequence = |id: &Option<usize>| id.map_or(-1, |id| id as i64);
            Ok(Row {
                tokens: collect(encoding.tokens.iter().map(|token| c_text(token)))?,
                offsets: flat(&encoding.offsets)?,
                char_offsets: flat(&encoding.char_offsets)?,
                word_ids: collect(encoding.word_ids.iter().map(word))?,
                sequence_ids: collect(encoding.sequence_ids.iter().map(sequence))?,
                encoding,
            })
        });
        Ok(Box::into_raw(Box::new(Self(try_collect(rows)?))))
    }
}

/// A row, if it is there.
///
/// # Safety
/// `encoding` is NULL or points to a live encoding.
unsafe fn row<'a>(encoding: *const bertscript_encoding, row: usize) -> Option<&'a Row> {
    // SAFETY: by the contract of this function.
    unsafe { encoding.as_ref() }.and_then(|encoding| encoding.0.get(row))
}

/// A list; NULL where there is none, as without details.
fn list<T>(values: &[T]) -> *const T {
    if values.is_empty() { null() } else { values.as_ptr() }
}

/// How many rows there are: one for each text, or for each window; 0 if `encoding` is NULL.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encoding_rows(encoding: *const bertscript_encoding) -> usize {
    // SAFETY: NULL, or a live encoding by the contract of the function.
    unsafe { encoding.as_ref() }.map_or(0, |encoding| encoding.0.len())
}

/// How many tokens a row has, padding included; 0 of a row that is not there.
///
/// @param row its number, from 0
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encoding_length(
    encoding: *const bertscript_encoding,
    row: usize,
) -> usize {
    // SAFETY: NULL, or a live encoding by the contract of the function.
    unsafe { self::row(encoding, row) }.map_or(0, |row| row.encoding.len())
}

/// The number of the text that a row comes from (transformers'
/// `overflow_to_sample_mapping`); `SIZE_MAX` of a row that is not there.
///
/// @param row its number, from 0
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encoding_sample(
    encoding: *const bertscript_encoding,
    row: usize,
) -> usize {
    // SAFETY: NULL, or a live encoding by the contract of the function.
    unsafe { self::row(encoding, row) }.map_or(usize::MAX, |row| row.encoding.sample)
}

/// Whether tokens are missing in a row that no further row has: 0 or 1; 0 of a row
/// that is not there.
///
/// @param row its number, from 0
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encoding_truncated(
    encoding: *const bertscript_encoding,
    row: usize,
) -> i32 {
    // SAFETY: NULL, or a live encoding by the contract of the function.
    unsafe { self::row(encoding, row) }.map_or(0, |row| row.encoding.truncated.into())
}

/// The ids of a row's tokens.
///
/// @param row its number, from 0
///
/// Ownership: borrowed, until the encoding is freed; NULL of a row that is not
/// there.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encoding_input_ids(
    encoding: *const bertscript_encoding,
    row: usize,
) -> *const i64 {
    // SAFETY: NULL, or a live encoding by the contract of the function.
    unsafe { self::row(encoding, row) }.map_or(null(), |row| list(&row.encoding.input_ids))
}

/// Of each token, 0 for the first text and 1 for the second.
///
/// @param row its number, from 0
///
/// Ownership: borrowed, until the encoding is freed; NULL of a row that is not
/// there.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encoding_token_type_ids(
    encoding: *const bertscript_encoding,
    row: usize,
) -> *const i64 {
    // SAFETY: NULL, or a live encoding by the contract of the function.
    unsafe { self::row(encoding, row) }.map_or(null(), |row| list(&row.encoding.token_type_ids))
}

/// Of each token, 1, and 0 for padding.
///
/// @param row its number, from 0
///
/// Ownership: borrowed, until the encoding is freed; NULL of a row that is not
/// there.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encoding_attention_mask(
    encoding: *const bertscript_encoding,
    row: usize,
) -> *const i64 {
    // SAFETY: NULL, or a live encoding by the contract of the function.
    unsafe { self::row(encoding, row) }.map_or(null(), |row| list(&row.encoding.attention_mask))
}

/// Of each token, 1 for what is not of the text: `[CLS]`, `[SEP]`, padding.
///
/// @param row its number, from 0
///
/// Ownership: borrowed, until the encoding is freed; NULL of a row that is not
/// there, and where details were not wanted.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encoding_special_tokens_mask(
    encoding: *const bertscript_encoding,
    row: usize,
) -> *const i64 {
    // SAFETY: NULL, or a live encoding by the contract of the function.
    unsafe { self::row(encoding, row) }
        .map_or(null(), |row| list(&row.encoding.special_tokens_mask))
}

/// The number of each token's word; -1 of special tokens.
///
/// @param row its number, from 0
///
/// Ownership: borrowed, until the encoding is freed; NULL of a row that is not
/// there, and where details were not wanted.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encoding_word_ids(
    encoding: *const bertscript_encoding,
    row: usize,
) -> *const i64 {
    // SAFETY: NULL, or a live encoding by the contract of the function.
    unsafe { self::row(encoding, row) }.map_or(null(), |row| list(&row.word_ids))
}

/// Of each token, 0 for the first text, 1 for the second, -1 for special tokens.
///
/// @param row its number, from 0
///
/// Ownership: borrowed, until the encoding is freed; NULL of a row that is not
/// there, and where details were not wanted.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encoding_sequence_ids(
    encoding: *const bertscript_encoding,
    row: usize,
) -> *const i64 {
    // SAFETY: NULL, or a live encoding by the contract of the function.
    unsafe { self::row(encoding, row) }.map_or(null(), |row| list(&row.sequence_ids))
}

/// Where each token stands in its text, in bytes: start and end in turn, twice as
/// many numbers as tokens.
///
/// @param row its number, from 0
///
/// Ownership: borrowed, until the encoding is freed; NULL of a row that is not
/// there, and where details were not wanted.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encoding_offsets(
    encoding: *const bertscript_encoding,
    row: usize,
) -> *const usize {
    // SAFETY: NULL, or a live encoding by the contract of the function.
    unsafe { self::row(encoding, row) }.map_or(null(), |row| list(&row.offsets))
}

/// Where each token stands in its text, in characters (transformers'
/// `offset_mapping`): start and end in turn, twice as many numbers as tokens.
///
/// @param row its number, from 0
///
/// Ownership: borrowed, until the encoding is freed; NULL of a row that is not
/// there, and where details were not wanted.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encoding_char_offsets(
    encoding: *const bertscript_encoding,
    row: usize,
) -> *const usize {
    // SAFETY: NULL, or a live encoding by the contract of the function.
    unsafe { self::row(encoding, row) }.map_or(null(), |row| list(&row.char_offsets))
}

/// A token of a row, as text, such as `##ing`.
///
/// @param row its number, from 0
/// @param index the number of the token, from 0
///
/// Ownership: borrowed, until the encoding is freed; NULL of a token that is not
/// there, and where details were not wanted.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encoding_token(
    encoding: *const bertscript_encoding,
    row: usize,
    index: usize,
) -> *const c_char {
    // SAFETY: NULL, or a live encoding by the contract of the function.
    let row = unsafe { self::row(encoding, row) };
    row.and_then(|row| row.tokens.get(index)).map_or(null(), |token| token.as_ptr())
}

/// The rows as int64 tensors `[rows, length]`, to run a module on.
///
/// @param input_ids gets the ids
/// @param attention_mask gets the mask; may be NULL
/// @param token_type_ids gets the types; may be NULL
///
/// Errors: `BERTSCRIPT_INVALID_ARGUMENT` if there is no row, or rows differ in
/// length, as without padding.
/// Ownership: the caller frees each tensor.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encoding_tensors(
    encoding: *const bertscript_encoding,
    input_ids: *mut *mut bertscript_tensor,
    attention_mask: *mut *mut bertscript_tensor,
    token_type_ids: *mut *mut bertscript_tensor,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        let invalid = |message: String| Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message);
        // SAFETY: by the contract of the function.
        let rows = unsafe { &get(encoding, "encoding")?.0 };
        let length = rows.first().map(|row| row.encoding.len());
        let length = length.ok_or_else(|| invalid("encoding: it has no rows".to_owned()))?;
        if let Some(other) = rows.iter().find(|row| row.encoding.len() != length) {
            let lengths = format!("{length} and {} tokens", other.encoding.len());
            return Err(invalid(format!("encoding: found rows of {lengths}, expected padding")));
        }
        let shape = [rows.len(), length];
        let tensor = |values: fn(&Encoding) -> &[i64]| -> Result<_, Failure> {
            let mut all = with_capacity(rows.len() * length)?;
            rows.iter().for_each(|row| all.extend_from_slice(values(&row.encoding)));
            Ok(bertscript_tensor::new(Tensor::new(all, shape)?))
        };
        // SAFETY: as above.
        let places = unsafe {
            (place(input_ids, "input_ids")?, attention_mask.as_mut(), token_type_ids.as_mut())
        };
        let ids = tensor(|encoding| &encoding.input_ids)?;
        let mask = tensor(|encoding| &encoding.attention_mask)?;
        let types = tensor(|encoding| &encoding.token_type_ids)?;
        *places.0 = ids.into_raw();
        if let Some(place) = places.1 {
            *place = mask.into_raw();
        }
        if let Some(place) = places.2 {
            *place = types.into_raw();
        }
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Frees an encoding. NULL is accepted.
///
/// Ownership: takes the handle; tensors made of it stay.
/// Thread safety: any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encoding_free(encoding: *mut bertscript_encoding) {
    // SAFETY: an encoding that this library boxed, given back once.
    unsafe { free(encoding) };
}
