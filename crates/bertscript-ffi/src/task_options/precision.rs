//! Options to embed to bytes.

use super::bertscript_task_options;
use crate::error::bertscript_error;
use crate::guard::set;
use crate::pointers::{array, get, text};
use crate::status::bertscript_status;
use bertscript::EmbeddingRanges;
use std::ffi::c_char;

/// Chooses the format that embeddings are stored in, for `bertscript_module_embed_quantized`.
///
/// @param embedding_precision `float32`, `float16`, `int8` or `uint8`, which need ranges, or
///        `binary` or `ubinary`, a bit for each dimension; `float32` unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_embedding_precision(
    options: *mut bertscript_task_options,
    embedding_precision: *const c_char,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            let name = text(embedding_precision, "embedding_precision")?;
            options.embedding_precision = Some(name.parse()?);
            Ok(())
        })
    }
}

/// Sets the range of each dimension, which the embedding precisions `int8` and `uint8` divide
/// into 256 parts; see `bertscript_embedding_ranges`.
///
/// @param ranges the min of each dimension, then the max of each, `count` of them; they are
///        copied
/// @param count twice the dimension of the embeddings
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_ranges(
    options: *mut bertscript_task_options,
    ranges: *const f32,
    count: usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            get(ranges, "ranges")?;
            options.ranges = Some(EmbeddingRanges::new(array(ranges, count, "ranges")?)?);
            Ok(())
        })
    }
}
