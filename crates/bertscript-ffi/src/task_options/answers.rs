//! Options to answer questions.

use super::bertscript_task_options;
use crate::error::bertscript_error;
use crate::guard::set;
use crate::pointers::{flag, positive};
use crate::status::bertscript_status;

/// Sets the maximum length of an answer.
///
/// @param max_answer_len tokens, at least 1; 15 unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_max_answer_len(
    options: *mut bertscript_task_options,
    max_answer_len: usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.max_answer_len = Some(positive(max_answer_len, "max_answer_len")?);
            Ok(())
        })
    }
}

/// Sets the maximum length of a window, question included, to answer questions.
///
/// @param max_seq_len tokens, at least 1; 384 unless set, or the model's limit if that is less
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_max_seq_len(
    options: *mut bertscript_task_options,
    max_seq_len: usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.max_seq_len = Some(positive(max_seq_len, "max_seq_len")?);
            Ok(())
        })
    }
}

/// Sets how many tokens of the context two windows share, to answer questions.
///
/// @param doc_stride tokens; 128 unless set, or half of `max_seq_len` if that is less
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_doc_stride(
    options: *mut bertscript_task_options,
    doc_stride: usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.doc_stride = Some(doc_stride);
            Ok(())
        })
    }
}

/// Chooses whether no answer is one, with its own score and no text.
///
/// @param handle_impossible_answer 0 or 1; 0 unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_handle_impossible_answer(
    options: *mut bertscript_task_options,
    handle_impossible_answer: i32,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.handle_impossible_answer =
                Some(flag(handle_impossible_answer, "handle_impossible_answer")?);
            Ok(())
        })
    }
}

/// Chooses whether an answer begins and ends with a word.
///
/// @param align_to_words 0 or 1; 1 unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_align_to_words(
    options: *mut bertscript_task_options,
    align_to_words: i32,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.align_to_words = Some(flag(align_to_words, "align_to_words")?);
            Ok(())
        })
    }
}
