//! Why a call failed, before the caller gets it as an error handle.

use crate::status::{BERTSCRIPT_NOT_FOUND, BERTSCRIPT_PANIC, bertscript_status, of_kind};
use bertscript_kernels::OutOfMemory;
use std::any::Any;
use std::error::Error as _;

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

    /// What a panic says.
    pub(crate) fn of_panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        Self::new(BERTSCRIPT_PANIC, text.unwrap_or("a panic that says nothing"))
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
