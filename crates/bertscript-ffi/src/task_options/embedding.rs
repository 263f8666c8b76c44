//! Options to embed.

use super::bertscript_task_options;
use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::guard::set;
use crate::pointers::{flag, positive, text, texts};
use crate::status::{BERTSCRIPT_INVALID_ARGUMENT, bertscript_status};
use std::ffi::c_char;

/// Chooses how the hidden states of tokens become an embedding, instead of by
/// the file's pipeline; several are concatenated.
///
/// @param modes `cls`, `max`, `mean`, `mean_sqrt_len_tokens`, `weightedmean` or
///        `lasttoken`, `count` of them
/// @param count how many there are, at least 1
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_pooling(
    options: *mut bertscript_task_options,
    modes: *const *const c_char,
    count: usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            let modes = texts(modes, count, "modes")?;
            if modes.is_empty() {
                let message = "modes: found none, expected at least one";
                return Err(Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message));
            }
            let modes = modes.iter().map(|mode| mode.parse()).collect::<Result<_, _>>();
            options.pooling = Some(modes?);
            Ok(())
        })
    }
}

/// Chooses whether embeddings are brought to length 1, where the file's pipeline
/// does not say so.
///
/// @param normalize 0 or 1; 0 unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_normalize(
    options: *mut bertscript_task_options,
    normalize: i32,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.normalize = Some(flag(normalize, "normalize")?);
            Ok(())
        })
    }
}

/// Puts a text before every text to embed; not beside a `prompt_name`.
///
/// @param prompt UTF-8, such as `query: `
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_prompt(
    options: *mut bertscript_task_options,
    prompt: *const c_char,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.prompt = Some(text(prompt, "prompt")?.to_owned());
            Ok(())
        })
    }
}

/// Puts a prompt of the file before every text to embed; not beside a `prompt`.
///
/// @param prompt_name its name in the file, such as `query`
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_prompt_name(
    options: *mut bertscript_task_options,
    prompt_name: *const c_char,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.prompt_name = Some(text(prompt_name, "prompt_name")?.to_owned());
            Ok(())
        })
    }
}

/// Keeps the first dimensions of embeddings only.
///
/// @param truncate_dim how many, 1 to the dimension of the embeddings
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_truncate_dim(
    options: *mut bertscript_task_options,
    truncate_dim: usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.truncate_dim = Some(positive(truncate_dim, "truncate_dim")?);
            Ok(())
        })
    }
}

/// Keeps some dimensions of sparse embeddings only, those of the largest values, and of equal
/// values those of the lower indices.
///
/// @param max_active_dims how many, at least 1; as the file says unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_max_active_dims(
    options: *mut bertscript_task_options,
    max_active_dims: usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.max_active_dims = Some(positive(max_active_dims, "max_active_dims")?);
            Ok(())
        })
    }
}
