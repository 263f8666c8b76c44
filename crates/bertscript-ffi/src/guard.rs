//! What stands around the body of every fallible function.

use crate::error::bertscript_error;
use crate::status::{BERTSCRIPT_NOT_FOUND, BERTSCRIPT_OK, bertscript_status, of_kind};
use bertscript_kernels::OutOfMemory;
use std::error::Error as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Why a call failed.
pub(crate) struct Failure {
    pub(crate) status: bertscript_status,
    pub(crate) message: String,
    pub(crate) detail: String,
}

impl Failure {
    pub(crate) fn new(status: bertscript_status, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), detail: String::new() }
    }

    /// Names the argument concerned.
    pub(crate) fn at(self, argument: &str) -> Self {
        Self { message: format!("{argument}: {}", self.message), ..self }
    }
}

impl From<bertscript::Error> for Failure {
    fn from(error: bertscript::Error) -> Self {
        let mut detail = String::new();
        let mut status = of_kind(error.kind());
        let mut cause = error.source();
        while let Some(error) = cause {
            let io = error.downcast_ref::<std::io::Error>();
            if io.is_some_and(|io| io.kind() == std::io::ErrorKind::NotFound) {
                status = BERTSCRIPT_NOT_FOUND;
            }
            detail += &format!("{error}\n");
            cause = error.source();
        }
        // What libtorch says may have several lines.
        let text = error.to_string();
        let text = text.trim();
        let (message, rest) = text.split_once('\n').unwrap_or((text, ""));
        if !rest.is_empty() {
            detail = format!("{rest}\n{detail}");
        }
        Self { status, message: message.to_owned(), detail }
    }
}

impl From<OutOfMemory> for Failure {
    fn from(error: OutOfMemory) -> Self {
        Self::from(bertscript::Error::from(error))
    }
}

impl From<tch::TchError> for Failure {
    fn from(error: tch::TchError) -> Self {
        Self::from(bertscript::Error::from(error))
    }
}

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
        // Miri runs no C++: what it checks of handles does without libtorch.
        #[cfg(not(miri))]
        let (_entered, _warnings) = {
            let entered = torchscript::enter().map_err(bertscript::Error::from)?;
            (entered, torchscript::Warnings::redirect(crate::log::warn))
        };
        body()
    };
    let failure = match catch_unwind(AssertUnwindSafe(guarded)) {
        Ok(Ok(())) => return BERTSCRIPT_OK,
        Ok(Err(failure)) => failure,
        Err(panic) => {
            Failure::from(bertscript::Error::from(torchscript::Error::from_panic(&*panic)))
        }
    };
    let status = failure.status;
    // SAFETY: by the contract of this function.
    if let Some(err) = unsafe { err.as_mut() } {
        *err = Box::into_raw(Box::new(bertscript_error::new(failure)));
    }
    status
}
