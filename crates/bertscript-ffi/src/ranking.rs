//! Texts in the order of how well they answer a query.

use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::inputs::Given;
use crate::module::bertscript_module;
use crate::pointers::{free, get, place, text};
use crate::results::Results;
use crate::status::bertscript_status;
use crate::task_options::bertscript_task_options;
use bertscript::{RankOptions, RankedText};
use bertscript_kernels::memory::collect;
use std::ffi::c_char;

/// A text of a ranking. Later versions may add members at the end.
#[repr(C)]
pub struct bertscript_ranked_text {
    /// Its number among the texts that were ranked, from 0.
    pub index: usize,
    /// Its score.
    pub score: f32,
    /// Whether it, or the query with it, was truncated: 0 or 1.
    pub truncated: i32,
}

/// Texts sorted by descending score.
///
/// Ownership: the caller frees it.
/// Thread safety: it never changes; any thread may read it.
pub struct bertscript_ranking(Results<bertscript_ranked_text>);

/// Ranks texts by how well they answer a query: by a cross-encoder of one label, which scores
/// the query with each text, or by the similarity of embeddings, with the file's prompts for
/// queries and documents. Equal scores keep the order of the texts.
///
/// @param query the query, UTF-8
/// @param texts the texts, UTF-8, `count` of them
/// @param lengths the length of each in bytes; NULL if they are NUL-terminated
/// @param count how many texts there are; 0 is accepted
/// @param options of `batch_tokens`, `long_texts` (of a cross-encoder, the score of a text is
///        the max of its windows'), `split_special_tokens`, `max_length`, `top_k`,
///        `function_to_apply` (of a cross-encoder); NULL for none
/// @param out gets the ranking
///
/// Errors: `BERTSCRIPT_UNSUPPORTED` of a file that has several labels, no tokenizer, no pipeline
/// or another head; `BERTSCRIPT_INVALID_UTF8` with the text's number; `BERTSCRIPT_CANCELLED`.
/// Ownership: the caller frees the ranking; the caller may free the texts after the call.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_rank(
    module: *const bertscript_module,
    query: *const c_char,
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    options: *const bertscript_task_options,
    out: *mut *mut bertscript_ranking,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (module, out) = unsafe { (get(module, "module")?, place(out, "out")?) };
        // SAFETY: as above.
        let query = unsafe { text(query, "query")? };
        // SAFETY: as above.
        let texts = unsafe { Given { name: "texts", texts, lengths }.read(count)? };
        // SAFETY: as above.
        let options = rank_options(unsafe { options.as_ref() })?;
        let found = module.module().rank(query, texts, &options)?;
        *out = bertscript_ranking::new(&found)?;
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

impl bertscript_ranking {
    fn new(found: &[RankedText]) -> Result<*mut Self, Failure> {
        let results = Results::new(found, |found: &RankedText, _| {
            let (index, score) = (found.index, found.score);
            let truncated = found.truncated.into();
            Ok((collect([bertscript_ranked_text { index, score, truncated }])?, found.truncated))
        })?;
        Ok(Box::into_raw(Box::new(Self(results))))
    }
}

fn rank_options(chosen: Option<&bertscript_task_options>) -> Result<RankOptions, Failure> {
    let usual = RankOptions::default();
    let Some(chosen) = chosen else { return Ok(usual) };
    chosen.only("rank", &["top_k", "function_to_apply"])?;
    Ok(RankOptions {
        top_k: chosen.top_k,
        function_to_apply: chosen.function_to_apply,
        long_texts: chosen.long_texts.unwrap_or(usual.long_texts),
        split_special_tokens: chosen.split_special_tokens,
        max_length: chosen.max_length,
        batch_tokens: chosen.batch_tokens,
        cancel: chosen.cancel.clone(),
    })
}

/// How many texts a ranking has; 0 if `ranking` is NULL.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_ranking_count(ranking: *const bertscript_ranking) -> usize {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { ranking.as_ref() }.map_or(0, |found| found.0.count())
}

/// A text of a ranking; NULL if `ranking` is NULL or there is no such item.
///
/// @param rank 0 for the text with the highest score
///
/// Ownership: borrowed, until the ranking is freed.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_ranking_get(
    ranking: *const bertscript_ranking,
    rank: usize,
) -> *const bertscript_ranked_text {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { ranking.as_ref() }.map_or(std::ptr::null(), |found| found.0.item(rank, 0))
}

/// All of it as JSON: an array with an object for each text.
///
/// Ownership: borrowed, until the ranking is freed; NULL if `ranking` is NULL.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_ranking_json(
    ranking: *const bertscript_ranking,
) -> *const c_char {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { ranking.as_ref() }.map_or(std::ptr::null(), |found| found.0.json())
}

/// Frees a ranking. NULL is accepted.
///
/// Ownership: takes the handle.
/// Thread safety: any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_ranking_free(ranking: *mut bertscript_ranking) {
    // SAFETY: a handle that this library boxed, given back once.
    unsafe { free(ranking) };
}
