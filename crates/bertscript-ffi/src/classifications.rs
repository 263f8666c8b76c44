//! Labels of texts.

use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::inputs::Given;
use crate::module::bertscript_module;
use crate::pointers::{free, get, place};
use crate::results::Results;
use crate::status::{BERTSCRIPT_NULL_POINTER, bertscript_status};
use crate::task_options::bertscript_task_options;
use bertscript::{Classification, ClassifyOptions};
use bertscript_kernels::memory::try_collect;
use std::ffi::c_char;

/// A label and its score. Later versions may add members at the end.
#[repr(C)]
pub struct bertscript_label {
    /// The label, of the checkpoint's `id2label`; UTF-8.
    pub label: *const c_char,
    /// Its score.
    pub score: f32,
}

/// The labels of each text, sorted by descending score.
///
/// Ownership: the caller frees it.
/// Thread safety: it never changes; any thread may read it.
pub struct bertscript_classifications(Results<bertscript_label>);

impl bertscript_classifications {
    pub(crate) fn new(found: &[Classification]) -> Result<*mut Self, Failure> {
        let results = Results::new(found, |found: &Classification, owned| {
            let labels = found.labels.iter();
            let labels = labels.map(|found| {
                Ok(bertscript_label { label: owned.keep(&found.label)?, score: found.score })
            });
            Ok((try_collect(labels)?, found.truncated))
        })?;
        Ok(Box::into_raw(Box::new(Self(results))))
    }
}

/// Scores the labels of texts, or of pairs of texts, as cross-encoders take
/// them.
///
/// @param texts the texts, UTF-8, `count` of them
/// @param lengths the length of each in bytes; NULL if they are NUL-terminated
/// @param pairs the second text of each; NULL if there are none
/// @param pair_lengths the length of each in bytes; NULL if they are
///        NUL-terminated
/// @param count how many texts there are; 0 is accepted
/// @param options of `batch_tokens`, `long_texts`, `split_special_tokens`,
///        `max_length`, `top_k`, `function_to_apply`; NULL for none
/// @param out gets the labels
///
/// Errors: `BERTSCRIPT_UNSUPPORTED` of a file that is no
/// `..ForSequenceClassification` or has no tokenizer;
/// `BERTSCRIPT_INVALID_UTF8` with the text's number; `BERTSCRIPT_CANCELLED`.
/// Ownership: the caller frees the labels; the caller may free the texts after the call.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_classify(
    module: *const bertscript_module,
    texts: *const *const c_char,
    lengths: *const usize,
    pairs: *const *const c_char,
    pair_lengths: *const usize,
    count: usize,
    options: *const bertscript_task_options,
    out: *mut *mut bertscript_classifications,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (module, out) = unsafe { (get(module, "module")?, place(out, "out")?) };
        let pairs = Given { name: "pairs", texts: pairs, lengths: pair_lengths };
        // SAFETY: as above.
        let texts = unsafe { Given { name: "texts", texts, lengths }.read_pairs(pairs, count)? };
        // SAFETY: as above.
        let options = unsafe { classify_options(options, "classify")? };
        *out = bertscript_classifications::new(&module.module().classify(texts, &options)?)?;
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Scores whether the second text of each pair follows the first: the labels are
/// `is_next` and `not_next`.
///
/// @param texts the first texts, UTF-8, `count` of them
/// @param lengths the length of each in bytes; NULL if they are NUL-terminated
/// @param pairs the second text of each
/// @param pair_lengths the length of each in bytes; NULL if they are
///        NUL-terminated
/// @param count how many pairs there are; 0 is accepted
/// @param options as of `bertscript_module_classify`; NULL for none
/// @param out gets the labels
///
/// Errors: `BERTSCRIPT_UNSUPPORTED` of a file that is no
/// `..ForNextSentencePrediction` or `..ForPreTraining`, or has no tokenizer;
/// `BERTSCRIPT_INVALID_UTF8` with the text's number; `BERTSCRIPT_CANCELLED`.
/// Ownership: the caller frees the labels; the caller may free the texts after the call.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_next_sentence(
    module: *const bertscript_module,
    texts: *const *const c_char,
    lengths: *const usize,
    pairs: *const *const c_char,
    pair_lengths: *const usize,
    count: usize,
    options: *const bertscript_task_options,
    out: *mut *mut bertscript_classifications,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (module, out) = unsafe { (get(module, "module")?, place(out, "out")?) };
        if pairs.is_null() && count > 0 {
            return Err(Failure::new(BERTSCRIPT_NULL_POINTER, "pairs: found NULL"));
        }
        let pairs = Given { name: "pairs", texts: pairs, lengths: pair_lengths };
        // SAFETY: as above.
        let texts = unsafe { Given { name: "texts", texts, lengths }.read_pairs(pairs, count)? };
        // SAFETY: as above.
        let options = unsafe { classify_options(options, "next_sentence")? };
        *out = bertscript_classifications::new(&module.module().next_sentence(texts, &options)?)?;
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// # Safety
/// `chosen` is NULL or points to live options.
unsafe fn classify_options(
    chosen: *const bertscript_task_options,
    task: &str,
) -> Result<ClassifyOptions, Failure> {
    let usual = ClassifyOptions::default();
    // SAFETY: by the contract of this function.
    let Some(chosen) = (unsafe { chosen.as_ref() }) else { return Ok(usual) };
    chosen.only(task, &["top_k", "function_to_apply"])?;
    Ok(ClassifyOptions {
        function_to_apply: chosen.function_to_apply,
        top_k: chosen.top_k,
        long_texts: chosen.long_texts.unwrap_or(usual.long_texts),
        split_special_tokens: chosen.split_special_tokens,
        max_length: chosen.max_length,
        batch_tokens: chosen.batch_tokens,
        cancel: chosen.cancel.clone(),
    })
}

/// How many texts there were; 0 if `classifications` is NULL.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_classifications_count(
    classifications: *const bertscript_classifications,
) -> usize {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { classifications.as_ref() }.map_or(0, |found| found.0.count())
}

/// How many labels a text has; 0 if `classifications` is NULL or there is no such text.
///
/// @param text its number, from 0
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_classifications_size(
    classifications: *const bertscript_classifications,
    text: usize,
) -> usize {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { classifications.as_ref() }.map_or(0, |found| found.0.items(text).len())
}

/// A label of a text; NULL if `classifications` is NULL or there is no such item.
///
/// @param text its number, from 0
/// @param index the number of the label, from 0
///
/// Ownership: borrowed, with all it points to, until the labels are freed.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_classifications_get(
    classifications: *const bertscript_classifications,
    text: usize,
    index: usize,
) -> *const bertscript_label {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { classifications.as_ref() }.map_or(std::ptr::null(), |found| found.0.item(text, index))
}

/// Whether a text was truncated: 0 or 1; 0 if `classifications` is NULL.
///
/// @param text its number, from 0
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_classifications_truncated(
    classifications: *const bertscript_classifications,
    text: usize,
) -> i32 {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { classifications.as_ref() }.map_or(0, |found| found.0.truncated(text))
}

/// All of it as JSON: an array with an object for each text.
///
/// Ownership: borrowed, until the labels are freed; NULL if `classifications` is NULL.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_classifications_json(
    classifications: *const bertscript_classifications,
) -> *const c_char {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { classifications.as_ref() }.map_or(std::ptr::null(), |found| found.0.json())
}

/// Frees labels. NULL is accepted.
///
/// Ownership: takes the handle.
/// Thread safety: any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_classifications_free(
    classifications: *mut bertscript_classifications,
) {
    // SAFETY: a handle that this library boxed, given back once.
    unsafe { free(classifications) };
}
