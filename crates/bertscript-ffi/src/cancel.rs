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

/// Frees a token. NULL is accepted.
///
/// Ownership: takes the token.
/// Thread safety: any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_cancel_token_free(token: *mut bertscript_cancel_token) {
    // SAFETY: a token that this library boxed, given back once.
    unsafe { free(token) };
}
