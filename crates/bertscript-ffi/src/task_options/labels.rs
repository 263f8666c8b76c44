//! Options to classify, to find entities and to fill masks.

use super::bertscript_task_options;
use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::guard::set;
use crate::pointers::{text, texts};
use crate::status::{BERTSCRIPT_INVALID_ARGUMENT, bertscript_status};
use std::ffi::c_char;

/// Chooses what makes scores of logits, to classify.
///
/// @param function_to_apply `sigmoid`, `softmax` or `none`; unless set, what the file
///        says
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_function_to_apply(
    options: *mut bertscript_task_options,
    function_to_apply: *const c_char,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.function_to_apply =
                Some(text(function_to_apply, "function_to_apply")?.parse()?);
            Ok(())
        })
    }
}

/// Chooses how tokens become entities.
///
/// @param aggregation_strategy `none`, `simple`, `first`, `average` or `max`; `simple`
///        unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_aggregation_strategy(
    options: *mut bertscript_task_options,
    aggregation_strategy: *const c_char,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.aggregation_strategy =
                Some(text(aggregation_strategy, "aggregation_strategy")?.parse()?);
            Ok(())
        })
    }
}

/// Leaves out entities with these labels.
///
/// @param labels the labels, UTF-8, `count` of them; `O` unless set
/// @param count how many there are
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_ignore_labels(
    options: *mut bertscript_task_options,
    labels: *const *const c_char,
    count: usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.ignore_labels = Some(texts(labels, count, "labels")?);
            Ok(())
        })
    }
}

/// Sets how many tokens two windows share, to find entities.
///
/// @param stride tokens; 0 unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_stride(
    options: *mut bertscript_task_options,
    stride: usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.stride = Some(stride);
            Ok(())
        })
    }
}

/// Fills masks with these tokens only.
///
/// @param targets tokens of the vocabulary, UTF-8, `count` of them
/// @param count how many there are, at least 1
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_targets(
    options: *mut bertscript_task_options,
    targets: *const *const c_char,
    count: usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            let targets = texts(targets, count, "targets")?;
            if targets.is_empty() {
                let message = "targets: found none, expected at least one";
                return Err(Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message));
            }
            options.targets = Some(targets);
            Ok(())
        })
    }
}
