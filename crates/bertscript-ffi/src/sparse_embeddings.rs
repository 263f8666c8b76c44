//! Sparse embeddings of texts.

use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::inputs::Given;
use crate::module::bertscript_module;
use crate::pointers::{free, get, place};
use crate::status::bertscript_status;
use crate::task_options::bertscript_task_options;
use bertscript::{EmbedSparseOptions, SparseEmbeddings};
use std::ffi::c_char;

/// Sparse embeddings of texts: of each the values that are not zero, and their indices, which
/// are token ids.
///
/// Ownership: the caller frees it.
/// Thread safety: it never changes; any thread may read it.
pub struct bertscript_sparse_embeddings(SparseEmbeddings);

impl bertscript_sparse_embeddings {
    /// The indices and values of a text; none if there is no such text.
    fn row(&self, text: usize) -> Option<(&[u32], &[f32])> {
        (text < self.0.len()).then(|| self.0.row(text))
    }
}

/// Embeds texts sparsely, as the file's `SparseEncoder` of sentence-transformers (SPLADE) says:
/// a value for each token of the vocabulary, most of them zero.
///
/// @param texts the texts, UTF-8, `count` of them
/// @param lengths the length of each in bytes; NULL if they are NUL-terminated
/// @param count how many texts there are; 0 is accepted
/// @param options of `batch_tokens`, `long_texts`, `split_special_tokens`,
///        `max_length`, `prompt` or `prompt_name`, `max_active_dims`; NULL for none
/// @param out gets the embeddings, in the texts' order
///
/// Errors: `BERTSCRIPT_UNSUPPORTED` of a file that is no `..ForMaskedLM`, has no
/// `SpladePooling` in its pipeline, or has no tokenizer; `BERTSCRIPT_INVALID_UTF8`
/// with the text's number; `BERTSCRIPT_CANCELLED`.
/// Ownership: the caller frees the embeddings; the caller may free the texts after the call.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_embed_sparse(
    module: *const bertscript_module,
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    options: *const bertscript_task_options,
    out: *mut *mut bertscript_sparse_embeddings,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (module, out) = unsafe { (get(module, "module")?, place(out, "out")?) };
        // SAFETY: as above.
        let texts = unsafe { Given { name: "texts", texts, lengths }.read(count)? };
        // SAFETY: as above.
        let options = unsafe { options.as_ref() }
            .map_or(Ok(EmbedSparseOptions::default()), sparse_options)?;
        let found = module.module().embed_sparse(texts, &options)?;
        *out = Box::into_raw(Box::new(bertscript_sparse_embeddings(found)));
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

fn sparse_options(chosen: &bertscript_task_options) -> Result<EmbedSparseOptions, Failure> {
    chosen.only("embed_sparse", &["prompt", "prompt_name", "max_active_dims"])?;
    let usual = EmbedSparseOptions::default();
    Ok(EmbedSparseOptions {
        max_active_dims: chosen.max_active_dims,
        prompt: chosen.prompt.clone(),
        prompt_name: chosen.prompt_name.clone(),
        long_texts: chosen.long_texts.unwrap_or(usual.long_texts),
        split_special_tokens: chosen.split_special_tokens,
        max_length: chosen.max_length,
        batch_tokens: chosen.batch_tokens,
        cancel: chosen.cancel.clone(),
    })
}

/// How many texts there were; 0 if `embeddings` is NULL.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_sparse_embeddings_count(
    embeddings: *const bertscript_sparse_embeddings,
) -> usize {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { embeddings.as_ref() }.map_or(0, |found| found.0.len())
}

/// The dimension of the embeddings, the size of the vocabulary; 0 if `embeddings` is NULL.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_sparse_embeddings_dimension(
    embeddings: *const bertscript_sparse_embeddings,
) -> usize {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { embeddings.as_ref() }.map_or(0, |found| found.0.width())
}

/// How many values of a text are not zero; 0 if `embeddings` is NULL or there is no such text.
///
/// @param text its number, from 0
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_sparse_embeddings_size(
    embeddings: *const bertscript_sparse_embeddings,
    text: usize,
) -> usize {
    // SAFETY: NULL, or a live handle by the contract of the function.
    let row = unsafe { embeddings.as_ref() }.and_then(|found| found.row(text));
    row.map_or(0, |(indices, _)| indices.len())
}

/// The indices of a text's values, ascending, as many as `bertscript_sparse_embeddings_size`
/// says; NULL if `embeddings` is NULL or there is no such text.
///
/// @param text its number, from 0
///
/// Ownership: borrowed, until the embeddings are freed.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_sparse_embeddings_indices(
    embeddings: *const bertscript_sparse_embeddings,
    text: usize,
) -> *const u32 {
    // SAFETY: NULL, or a live handle by the contract of the function.
    let row = unsafe { embeddings.as_ref() }.and_then(|found| found.row(text));
    row.map_or(std::ptr::null(), |(indices, _)| indices.as_ptr())
}

/// The values of a text, as many as `bertscript_sparse_embeddings_size` says; NULL if
/// `embeddings` is NULL or there is no such text.
///
/// @param text its number, from 0
///
/// Ownership: borrowed, until the embeddings are freed.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_sparse_embeddings_values(
    embeddings: *const bertscript_sparse_embeddings,
    text: usize,
) -> *const f32 {
    // SAFETY: NULL, or a live handle by the contract of the function.
    let row = unsafe { embeddings.as_ref() }.and_then(|found| found.row(text));
    row.map_or(std::ptr::null(), |(_, values)| values.as_ptr())
}

/// Whether a text was truncated: 0 or 1; 0 if `embeddings` is NULL.
///
/// @param text its number, from 0
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_sparse_embeddings_truncated(
    embeddings: *const bertscript_sparse_embeddings,
    text: usize,
) -> i32 {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { embeddings.as_ref() }
        .is_some_and(|found| found.0.truncated().binary_search(&text).is_ok())
        .into()
}

/// Frees embeddings. NULL is accepted.
///
/// Ownership: takes the handle.
/// Thread safety: any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_sparse_embeddings_free(
    embeddings: *mut bertscript_sparse_embeddings,
) {
    // SAFETY: a handle that this library boxed, given back once.
    unsafe { free(embeddings) };
}
