//! The tokenizer handle.

use crate::encode_options::bertscript_encode_options;
use crate::encoding::bertscript_encoding;
use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::inputs::Given;
use crate::module::bertscript_module;
use crate::pointers::{array, flag, free, get, give_text, place, text};
use crate::status::{BERTSCRIPT_INVALID_ARGUMENT, bertscript_status};
use bertscript::{EncodeOptions, Tokenizer};
use std::ffi::c_char;
use std::sync::Arc;

/// transformers' `BertTokenizer`.
///
/// Ownership: the caller frees it; clones share the vocabulary.
/// Thread safety: any number of threads at once.
pub struct bertscript_tokenizer(Arc<Tokenizer>);

impl bertscript_tokenizer {
    fn into_raw(self) -> *mut Self {
        Box::into_raw(Box::new(self))
    }
}

/// Reads a tokenizer.
///
/// @param path a checkpoint directory, a `tokenizer.json` or a `vocab.txt`,
///        UTF-8
/// @param out the tokenizer
///
/// Errors: `BERTSCRIPT_NOT_FOUND`; `BERTSCRIPT_IO`; `BERTSCRIPT_CORRUPT`;
/// `BERTSCRIPT_UNSUPPORTED` of a directory without a tokenizer.
/// Ownership: the caller frees the tokenizer.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tokenizer_load(
    path: *const c_char,
    out: *mut *mut bertscript_tokenizer,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (path, out) = unsafe { (text(path, "path")?, place(out, "out")?) };
        let tokenizer = Tokenizer::open(path)?;
        *out = bertscript_tokenizer(Arc::new(tokenizer)).into_raw();
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// The tokenizer that a file carries.
///
/// @param module of the file
/// @param out the tokenizer, which may outlive the module
///
/// Errors: `BERTSCRIPT_UNSUPPORTED` of a file without one.
/// Ownership: the caller frees the tokenizer.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tokenizer_from_module(
    module: *const bertscript_module,
    out: *mut *mut bertscript_tokenizer,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (module, out) = unsafe { (get(module, "module")?, place(out, "out")?) };
        *out = bertscript_tokenizer(module.module().tokenizer()?.clone()).into_raw();
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Encodes texts, or pairs of texts, in parallel.
///
/// @param texts the texts, UTF-8, `count` of them
/// @param lengths the length of each in bytes; NULL if they are NUL-terminated
/// @param pairs the second text of each; NULL if there are none
/// @param pair_lengths the length of each in bytes; NULL if they are
///        NUL-terminated
/// @param count how many texts there are; 0 is accepted
/// @param options NULL for none
/// @param out gets a row for each text, or one for each of its windows
///
/// Errors: `BERTSCRIPT_INVALID_ARGUMENT` for options that cannot be met;
/// `BERTSCRIPT_INVALID_UTF8` with the text's number.
/// Ownership: the caller frees the encoding; the caller may free the texts after the call.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tokenizer_encode(
    tokenizer: *const bertscript_tokenizer,
    texts: *const *const c_char,
    lengths: *const usize,
    pairs: *const *const c_char,
    pair_lengths: *const usize,
    count: usize,
    options: *const bertscript_encode_options,
    out: *mut *mut bertscript_encoding,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (tokenizer, out) = unsafe { (get(tokenizer, "tokenizer")?, place(out, "out")?) };
        let pairs = Given { name: "pairs", texts: pairs, lengths: pair_lengths };
        // SAFETY: as above.
        let texts = unsafe { Given { name: "texts", texts, lengths }.read_pairs(pairs, count)? };
        // SAFETY: as above.
        let options = unsafe { options.as_ref() };
        let options = options.map_or(EncodeOptions::default(), |options| options.0.clone());
        *out = bertscript_encoding::new(tokenizer.0.encode_batch(&texts, &options)?)?;
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// The text of ids.
///
/// @param ids the ids, `count` of them
/// @param count how many ids there are
/// @param skip_special_tokens 1 leaves `[CLS]` and the like out, 0 does not
/// @param buffer gets the text, UTF-8, NUL-terminated
/// @param capacity the room there, in bytes
/// @param length gets the length of the text in bytes, the NUL not counted, also
///        if the room is too small (`BERTSCRIPT_BUFFER_TOO_SMALL`); may be NULL
///
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tokenizer_decode(
    tokenizer: *const bertscript_tokenizer,
    ids: *const i64,
    count: usize,
    skip_special_tokens: i32,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (tokenizer, ids) = unsafe { (get(tokenizer, "tokenizer")?, array(ids, count, "ids")?) };
        let skip = flag(skip_special_tokens, "skip_special_tokens")?;
        let text = tokenizer.0.decode(ids, skip)?;
        // SAFETY: as above.
        unsafe { give_text(&text, buffer, capacity, length) }
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// How many ids there are, those of added tokens included; 0 if `tokenizer` is NULL.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tokenizer_vocab_size(
    tokenizer: *const bertscript_tokenizer,
) -> usize {
    // SAFETY: NULL, or a live tokenizer by the contract of the function.
    unsafe { tokenizer.as_ref() }.map_or(0, |tokenizer| tokenizer.0.vocab_size())
}

/// The maximum length of a sequence, in tokens, special ones included; 0 if
/// `tokenizer` is NULL.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tokenizer_max_length(
    tokenizer: *const bertscript_tokenizer,
) -> usize {
    // SAFETY: NULL, or a live tokenizer by the contract of the function.
    unsafe { tokenizer.as_ref() }.map_or(0, |tokenizer| tokenizer.0.max_length())
}

/// The id of a token of the vocabulary; -1 of one that is not there, and of
/// NULL.
///
/// @param token UTF-8, such as `[MASK]`
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tokenizer_token_to_id(
    tokenizer: *const bertscript_tokenizer,
    token: *const c_char,
) -> i64 {
    // SAFETY: NULL, or live by the contract of the function.
    let (tokenizer, token) = unsafe { (tokenizer.as_ref(), text(token, "token")) };
    let id = tokenizer.zip(token.ok()).and_then(|(known, token)| known.0.token_to_id(token));
    id.unwrap_or(-1)
}

/// The token of an id.
///
/// @param id 0 to one less than the vocabulary's size
/// @param buffer gets the token, UTF-8, NUL-terminated
/// @param capacity the room there, in bytes
/// @param length gets the length of the token in bytes, the NUL not counted,
///        also if the room is too small (`BERTSCRIPT_BUFFER_TOO_SMALL`); may be
///        NULL
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tokenizer_id_to_token(
    tokenizer: *const bertscript_tokenizer,
    id: i64,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let tokenizer = unsafe { get(tokenizer, "tokenizer")? };
        let token = tokenizer.0.id_to_token(id).ok_or_else(|| {
            let message = format!("id: found {id}, which is no token");
            Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message)
        })?;
        // SAFETY: as above.
        unsafe { give_text(&token, buffer, capacity, length) }
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Another handle to the same tokenizer; NULL if `tokenizer` is NULL.
///
/// Ownership: the caller frees it.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tokenizer_clone(
    tokenizer: *const bertscript_tokenizer,
) -> *mut bertscript_tokenizer {
    // SAFETY: NULL, or a live tokenizer by the contract of the function.
    let tokenizer = unsafe { tokenizer.as_ref() };
    let clone = |known: &bertscript_tokenizer| bertscript_tokenizer(known.0.clone()).into_raw();
    tokenizer.map_or(std::ptr::null_mut(), clone)
}

/// Frees a tokenizer. NULL is accepted.
///
/// Ownership: takes the handle; clones stay.
/// Thread safety: any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_tokenizer_free(tokenizer: *mut bertscript_tokenizer) {
    // SAFETY: a tokenizer that this library boxed, given back once.
    unsafe { free(tokenizer) };
}
