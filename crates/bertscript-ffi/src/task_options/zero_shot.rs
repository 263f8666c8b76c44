//! Options to classify by labels that are given.

use super::bertscript_task_options;
use crate::error::bertscript_error;
use crate::guard::set;
use crate::pointers::{flag, text};
use crate::status::bertscript_status;
use std::ffi::c_char;

/// Sets what a model of natural language inference is asked about a label.
///
/// @param hypothesis_template UTF-8 with `{}` once, where the label goes; `This example is {}.`
///        unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_hypothesis_template(
    options: *mut bertscript_task_options,
    hypothesis_template: *const c_char,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            let template = text(hypothesis_template, "hypothesis_template")?;
            options.hypothesis_template = Some(template.to_owned());
            Ok(())
        })
    }
}

/// Chooses whether several of the labels that are given may be true: then each is scored by
/// itself, otherwise all scores of a text add up to 1.
///
/// @param multi_label 0 or 1; 0 unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_multi_label(
    options: *mut bertscript_task_options,
    multi_label: i32,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.multi_label = Some(flag(multi_label, "multi_label")?);
            Ok(())
        })
    }
}
