//! Status codes. Numbers are never used again.

use bertscript::ErrorKind;

/// The result of a call: `BERTSCRIPT_OK`, or what went wrong.
pub type bertscript_status = i32;

/// Done.
pub const BERTSCRIPT_OK: bertscript_status = 0;
/// An argument is out of its bounds.
pub const BERTSCRIPT_INVALID_ARGUMENT: bertscript_status = 1;
/// A pointer is NULL that must not be.
pub const BERTSCRIPT_NULL_POINTER: bertscript_status = 2;
/// A text is not UTF-8.
pub const BERTSCRIPT_INVALID_UTF8: bertscript_status = 3;
/// A file or directory is not there.
pub const BERTSCRIPT_NOT_FOUND: bertscript_status = 4;
/// A file could not be read or written.
pub const BERTSCRIPT_IO: bertscript_status = 5;
/// A checkpoint or an exported file is malformed.
pub const BERTSCRIPT_CORRUPT: bertscript_status = 6;
/// Well-formed, but not something this library does.
pub const BERTSCRIPT_UNSUPPORTED: bertscript_status = 7;
/// A parameter has another shape than the configuration says.
pub const BERTSCRIPT_SHAPE_MISMATCH: bertscript_status = 8;
/// A device that cannot be had here; the message says why.
pub const BERTSCRIPT_DEVICE_UNAVAILABLE: bertscript_status = 10;
/// Host or device memory ran out; the handle stays usable.
pub const BERTSCRIPT_OUT_OF_MEMORY: bertscript_status = 11;
/// Cancelled.
pub const BERTSCRIPT_CANCELLED: bertscript_status = 12;
/// libtorch failed.
pub const BERTSCRIPT_TORCH: bertscript_status = 13;
/// A file of a newer format.
pub const BERTSCRIPT_VERSION_MISMATCH: bertscript_status = 14;
/// A buffer of the caller is too small.
pub const BERTSCRIPT_BUFFER_TOO_SMALL: bertscript_status = 15;
/// A call from inside a callback that would wait for itself.
pub const BERTSCRIPT_BUSY: bertscript_status = 16;
/// No function returns it any more: a panic leaves handles as they were.
pub const BERTSCRIPT_POISONED: bertscript_status = 17;
/// A checkpoint lacks parameters that the model needs.
pub const BERTSCRIPT_MISSING_WEIGHT: bertscript_status = 18;
/// Two results that must agree do not.
pub const BERTSCRIPT_VERIFICATION: bertscript_status = 20;
/// The process or the thread is in no state for a call: a child that was forked during calls of
/// other threads or after CUDA was used, a process that exits, or a stack that is too small.
pub const BERTSCRIPT_PROCESS_STATE: bertscript_status = 21;
/// libtorch is wanted, and `libbertscript_torch.so` or the libtorch that it needs cannot be had;
/// the message says what for, what is missing and the remedy.
pub const BERTSCRIPT_TORCH_UNAVAILABLE: bertscript_status = 22;
/// A mistake in this library.
pub const BERTSCRIPT_INTERNAL: bertscript_status = 100;
/// A panic inside this library, which was caught.
pub const BERTSCRIPT_PANIC: bertscript_status = 101;

/// Something that is no exception of the standard library came out of libtorch.
pub const BERTSCRIPT_FOREIGN_EXCEPTION: bertscript_status = 102;

pub(crate) fn of_kind(kind: ErrorKind) -> bertscript_status {
    match kind {
        ErrorKind::Io => BERTSCRIPT_IO,
        ErrorKind::Config | ErrorKind::Checkpoint | ErrorKind::Archive => BERTSCRIPT_CORRUPT,
        ErrorKind::MissingParameter => BERTSCRIPT_MISSING_WEIGHT,
        ErrorKind::ShapeMismatch => BERTSCRIPT_SHAPE_MISMATCH,
        ErrorKind::Unsupported => BERTSCRIPT_UNSUPPORTED,
        ErrorKind::VersionMismatch => BERTSCRIPT_VERSION_MISMATCH,
        ErrorKind::InvalidInput => BERTSCRIPT_INVALID_ARGUMENT,
        ErrorKind::Device => BERTSCRIPT_DEVICE_UNAVAILABLE,
        ErrorKind::OutOfMemory => BERTSCRIPT_OUT_OF_MEMORY,
        ErrorKind::Verification => BERTSCRIPT_VERIFICATION,
        ErrorKind::Cancelled => BERTSCRIPT_CANCELLED,
        ErrorKind::Torch => BERTSCRIPT_TORCH,
        ErrorKind::ForeignException => BERTSCRIPT_FOREIGN_EXCEPTION,
        ErrorKind::Panic => BERTSCRIPT_PANIC,
        ErrorKind::ProcessState => BERTSCRIPT_PROCESS_STATE,
        ErrorKind::TorchUnavailable => BERTSCRIPT_TORCH_UNAVAILABLE,
        _ => BERTSCRIPT_INTERNAL,
    }
}
