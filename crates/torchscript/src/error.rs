//! What can go wrong in libtorch, as a value.

use crate::ffi;
use bertscript_process::ProcessState;
use std::any::Any;
use std::error::Error as StdError;
use std::ffi::CString;
use std::fmt;

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The class of an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// libtorch refused the call.
    Torch,
    /// Host or device memory ran out.
    OutOfMemory,
    /// A traced closure or a writer failed; [`StdError::source`] says why.
    Callback,
    /// The closure of [`crate::ScriptModule::trace`] panicked.
    Panic,
    /// C++ threw something that is no `std::exception`.
    ForeignException,
    /// The system could not read a file.
    Io,
    /// The process or the thread is in no state for the call: [`crate::enter`] says why.
    ProcessState,
    /// An argument makes no sense, and was refused before libtorch saw it.
    Argument,
    /// An argument cannot be handed to C++, or a result has another type than expected.
    Type,
}

/// An error of libtorch, or of a closure that libtorch called.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn callback(source: Box<dyn StdError + Send + Sync>) -> Self {
        Self {
            kind: ErrorKind::Callback,
            message: "the callback failed".to_owned(),
            source: Some(source),
        }
    }

    /// What a panic says. tch's infallible methods panic with what libtorch threw: that
    /// is an error of libtorch's then, without its backtrace.
    pub fn from_panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        let text = text.unwrap_or("a panic that says nothing").trim();
        match text.split_once("Torch(\"") {
            Some((_, thrown)) => {
                // As Rust shows it for programmers: on one line.
                let message = thrown.split("\\n").next().unwrap_or_default();
                let message = message.trim_end_matches("\")");
                Self::new(libtorch_kind(message), message)
            }
            None => Self::new(ErrorKind::Panic, text),
        }
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Takes the error that a closure or writer returned, if that is the cause.
    pub fn into_source(self) -> Result<Box<dyn StdError + Send + Sync>, Self> {
        match self {
            Self { source: Some(source), .. } => Ok(source),
            other => Err(other),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<ProcessState> for Error {
    fn from(error: ProcessState) -> Self {
        Self::new(ErrorKind::ProcessState, error.to_string())
    }
}

impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Self {
        let text = error.to_string();
        // libtorch appends its C++ backtrace to the message.
        let message = text.split("\nException raised from").next().unwrap_or_default().trim();
        Self::new(libtorch_kind(message), message)
    }
}

/// The class of what libtorch says. Its allocator for the CPU throws what any
/// operator throws.
fn libtorch_kind(message: &str) -> ErrorKind {
    let exhausted = ["out of memory", "not enough memory", "can't allocate memory", "bad_alloc"];
    match exhausted.iter().any(|words| message.contains(words)) {
        true => ErrorKind::OutOfMemory,
        false => ErrorKind::Torch,
    }
}

/// Turns the shim's error pointer into a result and frees it.
pub(crate) fn check(error: *mut ffi::TsError) -> Result<()> {
    if error.is_null() {
        return Ok(());
    }
    let mut message = std::ptr::null();
    let mut length = 0;
    // SAFETY: the shim returned a live error; its text lives until it is freed below.
    let (kind, message) = unsafe {
        let kind = ffi::ts_error_get(error, &mut message, &mut length);
        let bytes = std::slice::from_raw_parts(message.cast::<u8>(), length);
        let text = String::from_utf8_lossy(bytes).trim_end().to_owned();
        ffi::ts_error_free(error);
        (kind, text)
    };
    let kind = match kind {
        2 => ErrorKind::OutOfMemory,
        3 => ErrorKind::Callback,
        4 => ErrorKind::ForeignException,
        5 => ErrorKind::Io,
        6 => ErrorKind::Argument,
        _ => libtorch_kind(&message),
    };
    Err(Error::new(kind, message))
}

/// A C string; names and sources must not hold a NUL.
pub(crate) fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| {
        Error::new(ErrorKind::Argument, format!("found NUL in {text:?}, expected none"))
    })
}
