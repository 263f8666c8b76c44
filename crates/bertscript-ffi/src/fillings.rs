//! Words for masks.

use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::inputs::Given;
use crate::module::bertscript_module;
use crate::pointers::{free, get, place};
use crate::results::Results;
use crate::status::bertscript_status;
use crate::task_options::bertscript_task_options;
use bertscript::{FillMaskOptions, Fillings};
use bertscript_kernels::memory::reserve;
use std::ffi::c_char;

/// A token in the place of a mask. Later versions may add members at the end.
#[repr(C)]
pub struct bertscript_filling {
    /// The number of the mask in the text, from 0.
    pub mask: usize,
    /// Its score.
    pub score: f32,
    /// Its id.
    pub token: i64,
    /// Its text; UTF-8.
    pub token_str: *const c_char,
    /// The whole text with it; UTF-8.
    pub sequence: *const c_char,
}

/// The fillings of texts: of each, mask after mask, of each mask sorted by descending score.
///
/// Ownership: the caller frees it.
/// Thread safety: it never changes; any thread may read it.
pub struct bertscript_fillings(Results<bertscript_filling>);

impl bertscript_fillings {
    fn new(found: &[Fillings]) -> Result<*mut Self, Failure> {
        let results = Results::new(found, |found: &Fillings, owned| {
            let mut fillings = Vec::new();
            for (mask, best) in found.masks.iter().enumerate() {
                reserve(&mut fillings, best.len())?;
                for filling in best {
                    fillings.push(bertscript_filling {
                        mask,
                        score: filling.score,
                        token: filling.token,
                        token_str: owned.keep(&filling.token_str)?,
                        sequence: owned.keep(&filling.sequence)?,
                    });
                }
            }
            Ok((fillings, found.truncated))
        })?;
        Ok(Box::into_raw(Box::new(Self(results))))
    }
}

/// Fills the masks of texts with the most probable tokens. A mask is written as the
/// tokenizer has it, `[MASK]`.
///
/// @param texts the texts, UTF-8, `count` of them
/// @param lengths the length of each in bytes; NULL if they are NUL-terminated
/// @param count how many texts there are; 0 is accepted
/// @param options of `batch_tokens`, `long_texts`, `max_length`, `top_k`,
///        `targets`, and `split_special_tokens`, which must not be 1; NULL for none
/// @param out gets the fillings
///
/// Errors: `BERTSCRIPT_UNSUPPORTED` of a file that is no `..ForMaskedLM` or
/// `..ForPreTraining`, or has no tokenizer; `BERTSCRIPT_INVALID_ARGUMENT` for a
/// text without a mask, or a target that is no token;
/// `BERTSCRIPT_INVALID_UTF8` with the text's number; `BERTSCRIPT_CANCELLED`.
/// Ownership: the caller frees the fillings; the caller may free the texts after the call.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_fill_mask(
    module: *const bertscript_module,
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    options: *const bertscript_task_options,
    out: *mut *mut bertscript_fillings,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (module, out) = unsafe { (get(module, "module")?, place(out, "out")?) };
        // SAFETY: as above.
        let texts = unsafe { Given { name: "texts", texts, lengths }.read(count)? };
        // SAFETY: as above.
        let options = unsafe { options.as_ref() }
            .map_or(Ok(FillMaskOptions::default()), fill_mask_options)?;
        *out = bertscript_fillings::new(&module.module().fill_mask(texts, &options)?)?;
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

fn fill_mask_options(chosen: &bertscript_task_options) -> Result<FillMaskOptions, Failure> {
    chosen.only("fill_mask", &["top_k", "targets"])?;
    let usual = FillMaskOptions::default();
    Ok(FillMaskOptions {
        top_k: chosen.top_k.unwrap_or(usual.top_k),
        targets: chosen.targets.clone(),
        long_texts: chosen.long_texts.unwrap_or(usual.long_texts),
        split_special_tokens: chosen.split_special_tokens,
        max_length: chosen.max_length,
        batch_tokens: chosen.batch_tokens,
        cancel: chosen.cancel.clone(),
    })
}

/// How many texts there were; 0 if `fillings` is NULL.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_fillings_count(fillings: *const bertscript_fillings) -> usize {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { fillings.as_ref() }.map_or(0, |found| found.0.count())
}

/// How many fillings a text has; 0 if `fillings` is NULL or there is no such text.
///
/// @param text its number, from 0
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_fillings_size(
    fillings: *const bertscript_fillings,
    text: usize,
) -> usize {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { fillings.as_ref() }.map_or(0, |found| found.0.items(text).len())
}

/// A filling of a text; NULL if `fillings` is NULL or there is no such item.
///
/// @param text its number, from 0
/// @param index the number of the filling, from 0
///
/// Ownership: borrowed, with all it points to, until the fillings are freed.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_fillings_get(
    fillings: *const bertscript_fillings,
    text: usize,
    index: usize,
) -> *const bertscript_filling {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { fillings.as_ref() }.map_or(std::ptr::null(), |found| found.0.item(text, index))
}

/// Whether a text was truncated: 0 or 1; 0 if `fillings` is NULL.
///
/// @param text its number, from 0
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_fillings_truncated(
    fillings: *const bertscript_fillings,
    text: usize,
) -> i32 {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { fillings.as_ref() }.map_or(0, |found| found.0.truncated(text))
}

/// All of it as JSON: an array with an object for each text.
///
/// Ownership: borrowed, until the fillings are freed; NULL if `fillings` is NULL.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_fillings_json(
    fillings: *const bertscript_fillings,
) -> *const c_char {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { fillings.as_ref() }.map_or(std::ptr::null(), |found| found.0.json())
}

/// Frees fillings. NULL is accepted.
///
/// Ownership: takes the handle.
/// Thread safety: any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_fillings_free(fillings: *mut bertscript_fillings) {
    // SAFETY: a handle that this library boxed, given back once.
    unsafe { free(fillings) };
}
