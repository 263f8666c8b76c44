//! How texts are encoded.

use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::guard::set;
use crate::pointers::{flag, free, positive, text};
use crate::status::{BERTSCRIPT_INVALID_ARGUMENT, bertscript_status};
use bertscript::{EncodeOptions, MAX_PADDED_LENGTH};
use std::ffi::c_char;

/// How texts are encoded. The names and the defaults are those of transformers'
/// `PreTrainedTokenizerBase.__call__`.
///
/// Ownership: the caller frees them; a call that takes them copies them.
/// Thread safety: one thread at a time.
pub struct bertscript_encode_options(pub(crate) EncodeOptions);

/// Creates default options.
///
/// Ownership: the caller frees them.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub extern "C" fn bertscript_encode_options_new() -> *mut bertscript_encode_options {
    Box::into_raw(Box::new(bertscript_encode_options(EncodeOptions::default())))
}

/// Chooses whether `[CLS]` and `[SEP]` are added.
///
/// @param add_special_tokens 0 or 1; 1 unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encode_options_set_add_special_tokens(
    options: *mut bertscript_encode_options,
    add_special_tokens: i32,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.0.add_special_tokens = flag(add_special_tokens, "add_special_tokens")?;
            Ok(())
        })
    }
}

/// Chooses whether special tokens in the text are read as plain text, as untrusted
/// text should be.
///
/// @param split_special_tokens 0 or 1; as `tokenizer_config.json` says unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encode_options_set_split_special_tokens(
    options: *mut bertscript_encode_options,
    split_special_tokens: i32,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            let split = flag(split_special_tokens, "split_special_tokens")?;
            options.0.split_special_tokens = Some(split);
            Ok(())
        })
    }
}

/// Chooses what is taken away from a sequence that is too long.
///
/// @param truncation `do_not_truncate`, `longest_first`, `only_first` or
///        `only_second`; `do_not_truncate` unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encode_options_set_truncation(
    options: *mut bertscript_encode_options,
    truncation: *const c_char,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.0.truncation = text(truncation, "truncation")?.parse()?;
            Ok(())
        })
    }
}

/// Sets the maximum length.
///
/// @param max_length tokens, special ones included; the model's limit unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encode_options_set_max_length(
    options: *mut bertscript_encode_options,
    max_length: usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.0.max_length = Some(max_length);
            Ok(())
        })
    }
}

/// Sets how many tokens a window shares with the one before.
///
/// @param stride tokens; 0 unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encode_options_set_stride(
    options: *mut bertscript_encode_options,
    stride: usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.0.stride = stride;
            Ok(())
        })
    }
}

/// Chooses whether what was taken away comes back as further rows.
///
/// @param return_overflowing_tokens 0 or 1; 0 unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encode_options_set_return_overflowing_tokens(
    options: *mut bertscript_encode_options,
    return_overflowing_tokens: i32,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.0.return_overflowing_tokens =
                flag(return_overflowing_tokens, "return_overflowing_tokens")?;
            Ok(())
        })
    }
}

/// Chooses how short sequences are padded.
///
/// @param padding `do_not_pad`, `longest` or `max_length`; `do_not_pad` unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encode_options_set_padding(
    options: *mut bertscript_encode_options,
    padding: *const c_char,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.0.padding = text(padding, "padding")?.parse()?;
            Ok(())
        })
    }
}

/// Fills up to a multiple of this.
///
/// @param pad_to_multiple_of tokens, 1 to 1048576; 1 unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encode_options_set_pad_to_multiple_of(
    options: *mut bertscript_encode_options,
    pad_to_multiple_of: usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            let multiple = positive(pad_to_multiple_of, "pad_to_multiple_of")?;
            if multiple > MAX_PADDED_LENGTH {
                let message = format!(
                    "pad_to_multiple_of: found {multiple}, expected at most {MAX_PADDED_LENGTH}"
                );
                return Err(Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message));
            }
            options.0.pad_to_multiple_of = Some(multiple);
            Ok(())
        })
    }
}

/// Chooses whether tokens, offsets, words and sequences are wanted; encoding is
/// faster without.
///
/// @param details 0 or 1; 1 unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encode_options_set_details(
    options: *mut bertscript_encode_options,
    details: i32,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.0.details = flag(details, "details")?;
            Ok(())
        })
    }
}

/// Frees options. NULL is accepted.
///
/// Ownership: takes the options.
/// Thread safety: any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_encode_options_free(options: *mut bertscript_encode_options) {
    // SAFETY: options that this library boxed, given back once.
    unsafe { free(options) };
}
