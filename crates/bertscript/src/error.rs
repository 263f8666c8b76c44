//! What can go wrong, where, and why.

use bertscript_kernels::OutOfMemory;
use bertscript_process::ProcessState;
use serde::{Deserialize, Serialize};
use std::error::Error as StdError;
use std::fmt;
use std::path::Path;

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The class of an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A file could not be read or written.
    Io,
    /// `config.json` is malformed or inconsistent.
    Config,
    /// A weight file is malformed.
    Checkpoint,
    /// The checkpoint lacks parameters that the architecture needs.
    MissingParameter,
    /// A parameter has another shape than the configuration says.
    ShapeMismatch,
    /// Well-formed, but not something this library does.
    Unsupported,
    /// Not an archive, or a damaged one.
    Archive,
    /// An archive of a newer format.
    VersionMismatch,
    /// An argument of the caller is out of its bounds.
    InvalidInput,
    /// A device or dtype that cannot be had here.
    Device,
    /// Host or device memory ran out.
    OutOfMemory,
    /// Two results that must agree do not.
    Verification,
    /// Cancelled.
    Cancelled,
    /// libtorch failed.
    Torch,
    /// What is wanted requires libtorch, and there is no plug-in that has it.
    TorchUnavailable,
    /// C++ threw something that is no `std::exception`.
    ForeignException,
    /// A panic where libtorch called back.
    Panic,
    /// The process or the thread is in no state for the call: a child that was forked
    /// during calls of other threads, a process that exits, or a stack that is too small.
    ProcessState,
}

/// An error: its kind, the place (a file, a parameter, an argument), what was
/// expected and found there, and the cause below it if there is one.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    place: Option<String>,
    text: Option<usize>,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, place: None, text: None, message: message.into(), source: None }
    }

    /// Names the place, unless a deeper layer has named it already.
    pub(crate) fn at(mut self, place: impl Into<String>) -> Self {
        self.place.get_or_insert_with(|| place.into());
        self
    }

    /// Says `to` of what was `from`: the same is malformed in another kind of file.
    pub(crate) fn with_kind(mut self, from: ErrorKind, to: ErrorKind) -> Self {
        if self.kind == from {
            self.kind = to;
        }
        self
    }

    /// Moves the place into the message: it is inside of what the caller names.
    pub(crate) fn inside(mut self) -> Self {
        if let Some(place) = self.place.take() {
            self.message = format!("{place}: {}", self.message);
        }
        self
    }

    /// Names a text of the caller's, by its number from 0.
    pub(crate) fn at_text(mut self, number: usize) -> Self {
        self.text = Some(number);
        self.at(format!("text {number}"))
    }

    pub(crate) fn at_path(self, path: &Path) -> Self {
        self.at(path.display().to_string())
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn io(path: &Path, doing: &str, source: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, format!("cannot {doing}")).at_path(path).because(source)
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The file, parameter or argument concerned.
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// The number, from 0, of the caller's text concerned.
    pub fn text(&self) -> Option<usize> {
        self.text
    }

    /// What was found and expected, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<torchscript_reader::Error> for Error {
    fn from(error: torchscript_reader::Error) -> Self {
        let kind = match error.kind() {
            torchscript_reader::ErrorKind::Archive => ErrorKind::Archive,
            torchscript_reader::ErrorKind::Io => ErrorKind::Io,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(feature = "torch")]
impl From<torchscript::Error> for Error {
    fn from(error: torchscript::Error) -> Self {
        let kind = match error.kind() {
            torchscript::ErrorKind::OutOfMemory => ErrorKind::OutOfMemory,
            torchscript::ErrorKind::ForeignException => ErrorKind::ForeignException,
            torchscript::ErrorKind::Panic => ErrorKind::Panic,
            torchscript::ErrorKind::Io => ErrorKind::Io,
            torchscript::ErrorKind::ProcessState => ErrorKind::ProcessState,
            torchscript::ErrorKind::Argument => ErrorKind::InvalidInput,
            _ => ErrorKind::Torch,
        };
        // An error of ours that crossed a traced closure comes back as itself.
        match error.into_source() {
            Ok(source) => match source.downcast::<Error>() {
                Ok(error) => *error,
                Err(source) => Self::new(kind, source.to_string()),
            },
            Err(error) => Self::new(kind, error.to_string()),
        }
    }
}

/// The error of a file that cannot be mapped.
pub(crate) fn unmapped(error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::OutOfMemory => ErrorKind::OutOfMemory,
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("cannot map the file: {error}"))
}

impl From<ProcessState> for Error {
    fn from(error: ProcessState) -> Self {
        Self::new(ErrorKind::ProcessState, error.to_string())
    }
}

impl From<OutOfMemory> for Error {
    fn from(error: OutOfMemory) -> Self {
        Self::new(ErrorKind::OutOfMemory, error.to_string())
    }
}

#[cfg(feature = "torch")]
impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Self {
        torchscript::Error::from(error).into()
    }
}
