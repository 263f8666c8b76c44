//! What stands around the body of every fallible function.

use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::pointers::place;
use crate::status::{BERTSCRIPT_OK, bertscript_status};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the body of a function, if the process and the thread are in a state for it: no
/// panic leaves it, and what failed is told.
///
/// # Safety
/// `err` is NULL or a place to write a pointer to.
pub(crate) unsafe fn guard(
    err: *mut *mut bertscript_error,
    body: impl FnOnce() -> Result<(), Failure>,
) -> bertscript_status {
    let guarded = || {
        let _entered = bertscript_process::enter().map_err(bertscript::Error::from)?;
        bertscript_plugin::send_log_to(crate::log::of_plugin);
        body()
    };
    let failure = match catch_unwind(AssertUnwindSafe(guarded)) {
        Ok(Ok(())) => return BERTSCRIPT_OK,
        Ok(Err(failure)) => failure,
        Err(panic) => Failure::of_panic(&*panic),
    };
    let status = failure.status;
    // SAFETY: by the contract of this function.
    if let Some(err) = unsafe { err.as_mut() } {
        *err = Box::into_raw(Box::new(bertscript_error::new(failure)));
    }
    status
}

/// Changes options, or says why not.
///
/// # Safety
/// `options` is NULL or points to live options that nobody else uses, `err` is
/// NULL or a place that may be written.
pub(crate) unsafe fn set<T>(
    options: *mut T,
    err: *mut *mut bertscript_error,
    change: impl FnOnce(&mut T) -> Result<(), Failure>,
) -> bertscript_status {
    // SAFETY: by the contract of this function.
    unsafe { guard(err, || change(place(options, "options")?)) }
}
