//! The cancel token.

use crate::pointers::free;
use bertscript::Cancel;

/// Stops tasks from another thread.
///
/// Ownership: the caller frees it; a task that runs with it holds its own.
/// Thread safety: any number of threads at once.
pub struct bertscript_cancel_token(pub(crate) Cancel);

/// Makes a token.
///
/// Ownership: the caller frees it.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub extern "C" fn bertscript_cancel_token_new() -> *mut bertscript_cancel_token {
    Box::into_raw(Box::new(bertscript_cancel_token(Cancel::default())))
}

/// Asks every task with this token to stop before its next batch, with
/// `BERTSCRIPT_CANCELLED`. A batch that runs is not interrupted. NULL is accepted.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_cancel_token_cancel(token: *const bertscript_cancel_token) {
    // SAFETY: NULL, or a live token by the contract of the function.
    if let Some(token) = unsafe { token.as_ref() } {
        token.0.cancel();
    }
}

/// Whether the token was asked to cancel; 0 or 1, and 0 if `token` is NULL.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_cancel_token_is_cancelled(
    token: *const bertscript_cancel_token,
) -> i32 {
    // SAFETY: NULL, or a live token by the contract of the function.
    unsafe { token.as_ref() }.is_some_and(|token| token.0.is_cancelled()).into()
}

/// Another handle to the same token; NULL if `token` is NULL.
///
/// Ownership: the caller frees it.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_cancel_token_clone(
    token: *const bertscript_cancel_token,
) -> *mut bertscript_cancel_token {
    // SAFETY: NULL, or a live token by the contract of the function.
    let token = unsafe { token.as_ref() };
    let clone = |token: &bertscript_cancel_token| bertscript_cancel_token(token.0.clone());
    token.map_or(std::ptr::null_mut(), |token| Box::into_raw(Box::new(clone(token))))
}

/// Frees a token. NULL is accepted.
///
/// Ownership: takes the handle; clones stay.
/// Thread safety: any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_cancel_token_free(token: *mut bertscript_cancel_token) {
    // SAFETY: a token that this library boxed, given back once.
    unsafe { free(token) };
}
