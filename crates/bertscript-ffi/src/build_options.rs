//! How a model is built from a checkpoint.

use crate::error::bertscript_error;
use crate::guard::set;
use crate::pointers::{flag, free, text};
use crate::status::bertscript_status;
use bertscript::{LoadOptions, TieWeights};
use std::ffi::c_char;

/// How a model is built from a checkpoint.
///
/// Ownership: the caller frees them; a call that takes them copies them.
/// Thread safety: one thread at a time.
pub struct bertscript_build_options(pub(crate) LoadOptions);

/// Creates default options: the checkpoint decides.
///
/// Ownership: the caller frees them.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub extern "C" fn bertscript_build_options_new() -> *mut bertscript_build_options {
    Box::into_raw(Box::new(bertscript_build_options(LoadOptions::default())))
}

/// Chooses the model class, otherwise what `config.json` names.
///
/// @param architecture transformers' name, such as `BertForMaskedLM`
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_build_options_set_architecture(
    options: *mut bertscript_build_options,
    architecture: *const c_char,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.0.architecture = Some(text(architecture, "architecture")?.parse()?);
            Ok(())
        })
    }
}

/// Chooses the dtype of the weights, otherwise the checkpoint's own.
///
/// @param dtype `float32`, `float16` or `bfloat16`
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_build_options_set_dtype(
    options: *mut bertscript_build_options,
    dtype: *const c_char,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.0.dtype = Some(text(dtype, "dtype")?.parse()?);
            Ok(())
        })
    }
}

/// Chooses what becomes of tied weights, such as those of word embeddings and
/// decoder: 1 leaves them on one storage, 0 gives each its own, as TorchScript's
/// other users expect.
///
/// @param keep_tied 0 or 1; 0 unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_build_options_set_keep_tied(
    options: *mut bertscript_build_options,
    keep_tied: i32,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.0.ties = match flag(keep_tied, "keep_tied")? {
                true => TieWeights::Keep,
                false => TieWeights::Untie,
            };
            Ok(())
        })
    }
}

/// Chooses how attention is computed.
///
/// @param attention `sdpa`, or `eager`, which returns its probabilities
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_build_options_set_attention(
    options: *mut bertscript_build_options,
    attention: *const c_char,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.0.attention = Some(text(attention, "attention")?.parse()?);
            Ok(())
        })
    }
}

/// Chooses whether the hidden states of every layer are outputs too, as
/// `hidden_states.0` (the embeddings) and so on.
///
/// @param hidden_states 0 or 1; 0 unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_build_options_set_hidden_states(
    options: *mut bertscript_build_options,
    hidden_states: i32,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.0.hidden_states = flag(hidden_states, "hidden_states")?;
            Ok(())
        })
    }
}

/// Chooses whether the attention probabilities of every layer are outputs too,
/// as `attentions.0` and so on.
///
/// @param attentions 0 or 1; 0 unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_build_options_set_attentions(
    options: *mut bertscript_build_options,
    attentions: i32,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.0.attentions = flag(attentions, "attentions")?;
            Ok(())
        })
    }
}

/// Lets parameters that the checkpoint lacks be initialised at random, which is
/// an error otherwise; the same seed gives the same values.
///
/// @param seed of the random numbers
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_build_options_set_random_init(
    options: *mut bertscript_build_options,
    seed: u64,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.0.random_init = Some(seed);
            Ok(())
        })
    }
}

/// Frees options. NULL is accepted.
///
/// Ownership: takes the options.
/// Thread safety: any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_build_options_free(options: *mut bertscript_build_options) {
    // SAFETY: options that this library boxed, given back once.
    unsafe { free(options) };
}
