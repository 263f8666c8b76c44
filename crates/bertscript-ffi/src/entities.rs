//! Entities in texts.

use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::inputs::Given;
use crate::module::bertscript_module;
use crate::pointers::{free, get, place};
use crate::results::Results;
use crate::status::bertscript_status;
use crate::task_options::bertscript_task_options;
use bertscript::{Entities, EntitiesOptions};
use bertscript_kernels::memory::try_collect;
use std::ffi::c_char;

/// An entity, or a token with its label. Later versions may add members at the
/// end.
#[repr(C)]
pub struct bertscript_entity {
    /// The label; of aggregated tokens without `B-` and `I-`; UTF-8.
    pub entity: *const c_char,
    /// Its score.
    pub score: f32,
    /// The tokens, as text; UTF-8.
    pub word: *const c_char,
    /// Where it begins in the text, in bytes.
    pub start: usize,
    /// Where it ends in the text, in bytes.
    pub end: usize,
    /// Where it begins in the text, in characters.
    pub char_start: usize,
    /// Where it ends in the text, in characters.
    pub char_end: usize,
    /// The number of the token; -1 where tokens are aggregated.
    pub index: i64,
}

/// The entities of texts, of each in the order of the text.
///
/// Ownership: the caller frees it.
/// Thread safety: it never changes; any thread may read it.
pub struct bertscript_entities(Results<bertscript_entity>);

impl bertscript_entities {
    fn new(found: &[Entities]) -> Result<*mut Self, Failure> {
        let results = Results::new(found, |found: &Entities, owned| {
            let entities = found.entities.iter().map(|entity| {
                Ok(bertscript_entity {
                    entity: owned.keep(&entity.entity)?,
                    score: entity.score,
                    word: owned.keep(&entity.word)?,
                    start: entity.start,
                    end: entity.end,
                    char_start: entity.char_start,
                    char_end: entity.char_end,
                    index: entity.index.map_or(-1, |index| index as i64),
                })
            });
            Ok((try_collect(entities)?, found.truncated))
        })?;
        Ok(Box::into_raw(Box::new(Self(results))))
    }
}

/// Finds entities in texts, or any other label of tokens.
///
/// @param texts the texts, UTF-8, `count` of them
/// @param lengths the length of each in bytes; NULL if they are NUL-terminated
/// @param count how many texts there are; 0 is accepted
/// @param options of `batch_tokens`, `long_texts`, `split_special_tokens`,
///        `max_length`, `aggregation_strategy`, `ignore_labels`, `stride`; NULL for
///        none
/// @param out gets the entities
///
/// Errors: `BERTSCRIPT_UNSUPPORTED` of a file that is no
/// `..ForTokenClassification` or has no tokenizer; `BERTSCRIPT_INVALID_UTF8`
/// with the text's number; `BERTSCRIPT_CANCELLED`.
/// Ownership: the caller frees the entities; the caller may free the texts after the call.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_entities(
    module: *const bertscript_module,
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    options: *const bertscript_task_options,
    out: *mut *mut bertscript_entities,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (module, out) = unsafe { (get(module, "module")?, place(out, "out")?) };
        // SAFETY: as above.
        let texts = unsafe { Given { name: "texts", texts, lengths }.read(count)? };
        // SAFETY: as above.
        let options =
            unsafe { options.as_ref() }.map_or(Ok(EntitiesOptions::default()), entities_options)?;
        *out = bertscript_entities::new(&module.module().entities(texts, &options)?)?;
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

fn entities_options(chosen: &bertscript_task_options) -> Result<EntitiesOptions, Failure> {
    chosen.only("entities", &["aggregation_strategy", "ignore_labels", "stride"])?;
    let usual = EntitiesOptions::default();
    Ok(EntitiesOptions {
        aggregation_strategy: chosen.aggregation_strategy.unwrap_or(usual.aggregation_strategy),
        ignore_labels: chosen.ignore_labels.clone().unwrap_or(usual.ignore_labels),
        long_texts: chosen.long_texts.unwrap_or(usual.long_texts),
        stride: chosen.stride.unwrap_or(usual.stride),
        split_special_tokens: chosen.split_special_tokens,
        max_length: chosen.max_length,
        batch_tokens: chosen.batch_tokens,
        cancel: chosen.cancel.clone(),
    })
}

/// How many texts there were; 0 if `entities` is NULL.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_entities_count(entities: *const bertscript_entities) -> usize {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { entities.as_ref() }.map_or(0, |found| found.0.count())
}

/// How many entities a text has; 0 if `entities` is NULL or there is no such text.
///
/// @param text its number, from 0
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_entities_size(
    entities: *const bertscript_entities,
    text: usize,
) -> usize {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { entities.as_ref() }.map_or(0, |found| found.0.items(text).len())
}

/// An entity of a text; NULL if `entities` is NULL or there is no such item.
///
/// @param text its number, from 0
/// @param index the number of the entity, from 0
///
/// Ownership: borrowed, with all it points to, until the entities are freed.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_entities_get(
    entities: *const bertscript_entities,
    text: usize,
    index: usize,
) -> *const bertscript_entity {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { entities.as_ref() }.map_or(std::ptr::null(), |found| found.0.item(text, index))
}

/// Whether a text was truncated: 0 or 1; 0 if `entities` is NULL.
///
/// @param text its number, from 0
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_entities_truncated(
    entities: *const bertscript_entities,
    text: usize,
) -> i32 {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { entities.as_ref() }.map_or(0, |found| found.0.truncated(text))
}

/// All of it as JSON: an array with an object for each text.
///
/// Ownership: borrowed, until the entities are freed; NULL if `entities` is NULL.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_entities_json(
    entities: *const bertscript_entities,
) -> *const c_char {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { entities.as_ref() }.map_or(std::ptr::null(), |found| found.0.json())
}

/// Frees entities. NULL is accepted.
///
/// Ownership: takes the handle.
/// Thread safety: any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_entities_free(entities: *mut bertscript_entities) {
    // SAFETY: a handle that this library boxed, given back once.
    unsafe { free(entities) };
}
