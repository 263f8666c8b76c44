//! Labels of texts that are given with them.

use crate::classifications::bertscript_classifications;
use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::inputs::Given;
use crate::module::bertscript_module;
use crate::pointers::{get, place};
use crate::status::bertscript_status;
use crate::task_options::bertscript_task_options;
use bertscript::ZeroShotOptions;
use std::ffi::c_char;

/// Scores how well labels that are given suit texts, by a model of natural language inference:
/// a `..ForSequenceClassification` with one label that begins with `entail`.
///
/// @param texts the texts, UTF-8, `count` of them
/// @param lengths the length of each in bytes; NULL if they are NUL-terminated
/// @param count how many texts there are; 0 is accepted
/// @param candidate_labels the labels, NUL-terminated UTF-8, `label_count` of them
/// @param label_count how many labels there are, at least 1
/// @param options of `batch_tokens`, `long_texts`, `split_special_tokens`, `max_length`, `top_k`,
///        `hypothesis_template`, `multi_label`; NULL for none
/// @param out gets the labels of each text
///
/// Errors: `BERTSCRIPT_UNSUPPORTED` of a file that is no such model or has no tokenizer;
/// `BERTSCRIPT_INVALID_UTF8` with the text's number; `BERTSCRIPT_CANCELLED`.
/// Ownership: the caller frees the labels; the caller may free the texts after the call.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_zero_shot(
    module: *const bertscript_module,
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    candidate_labels: *const *const c_char,
    label_count: usize,
    options: *const bertscript_task_options,
    out: *mut *mut bertscript_classifications,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (module, out) = unsafe { (get(module, "module")?, place(out, "out")?) };
        // SAFETY: as above.
        let texts = unsafe { Given { name: "texts", texts, lengths }.read(count)? };
        let labels =
            Given { name: "candidate_labels", texts: candidate_labels, lengths: std::ptr::null() };
        // SAFETY: as above.
        let labels = unsafe { labels.read(label_count)? };
        // SAFETY: as above.
        let options = zero_shot_options(unsafe { options.as_ref() })?;
        let found = module.module().zero_shot(texts, &labels, &options)?;
        *out = bertscript_classifications::new(&found)?;
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

fn zero_shot_options(chosen: Option<&bertscript_task_options>) -> Result<ZeroShotOptions, Failure> {
    let usual = ZeroShotOptions::default();
    let Some(chosen) = chosen else { return Ok(usual) };
    chosen.only("zero_shot", &["top_k", "hypothesis_template", "multi_label"])?;
    Ok(ZeroShotOptions {
        hypothesis_template: chosen
            .hypothesis_template
            .clone()
            .unwrap_or(usual.hypothesis_template),
        multi_label: chosen.multi_label.unwrap_or(usual.multi_label),
        top_k: chosen.top_k,
        long_texts: chosen.long_texts.unwrap_or(usual.long_texts),
        split_special_tokens: chosen.split_special_tokens,
        max_length: chosen.max_length,
        batch_tokens: chosen.batch_tokens,
        cancel: chosen.cancel.clone(),
    })
}
