//! What would otherwise be written to standard error.

use crate::failure::Failure;
use crate::status::BERTSCRIPT_BUSY;
use bertscript_plugin::LogLevel;
use std::cell::Cell;
use std::ffi::{CString, c_char, c_void};
use std::io::Write;
use std::sync::{PoisonError, RwLock};

/// How much a message matters.
pub type bertscript_log_level = i32;

/// A mistake in this library, which the call returned as an error too.
pub const BERTSCRIPT_LOG_ERROR: bertscript_log_level = 1;
/// A warning of libtorch.
pub const BERTSCRIPT_LOG_WARNING: bertscript_log_level = 2;

/// Gets one message, NUL-terminated and borrowed for the call.
pub type bertscript_log_callback =
    Option<unsafe extern "C" fn(user: *mut c_void, level: i32, message: *const c_char)>;

#[derive(Clone, Copy)]
struct Sink {
    callback: unsafe extern "C" fn(*mut c_void, i32, *const c_char),
    user: *mut c_void,
    level: bertscript_log_level,
}

// SAFETY: whoever sets a callback promises that any thread may call it.
unsafe impl Send for Sink {}
// SAFETY: as above.
unsafe impl Sync for Sink {}

static SINK: RwLock<Option<Sink>> = RwLock::new(None);

thread_local! {
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// Sends the messages of this level and above to a callback; to none.
pub(crate) fn set_sink(
    callback: bertscript_log_callback,
    user: *mut c_void,
    level: bertscript_log_level,
) {
    let sink = callback.map(|callback| Sink { callback, user, level });
    *SINK.write().unwrap_or_else(PoisonError::into_inner) = sink;
}

/// Hands a message on. No lock is held while the callback runs.
pub(crate) fn log(level: bertscript_log_level, message: &str) {
    let sink = *SINK.read().unwrap_or_else(PoisonError::into_inner);
    match sink {
        Some(sink) if level <= sink.level => {
            let text = CString::new(message.replace('\0', "\\0")).unwrap_or_default();
            let before = IN_CALLBACK.replace(true);
            // SAFETY: whoever set the callback promises that it may be called.
            unsafe { (sink.callback)(sink.user, level, text.as_ptr()) };
            IN_CALLBACK.set(before);
        }
        None if std::env::var_os("BERTSCRIPT_LOG").is_some() => {
            // Where nobody can read it, that must not be a panic, least of all in the report of one.
            let _ = writeln!(std::io::stderr(), "bertscript: {message}");
        }
        _ => {}
    }
}

/// Hands on a message of the plug-in's.
pub(crate) fn of_plugin(level: LogLevel, message: &str) {
    log(level as bertscript_log_level, message);
}

/// Refuses what would wait for the call that the callback was called from.
pub(crate) fn refuse_in_callback() -> Result<(), Failure> {
    if IN_CALLBACK.get() {
        let message = "called from inside a callback, whose call it would wait for";
        return Err(Failure::new(BERTSCRIPT_BUSY, message));
    }
    Ok(())
}

/// Sends the reports of panics to the log instead of to standard error. For the
/// shared library, which has a standard library of its own; in a Rust program
/// it would silence everybody's.
pub fn send_panics_to_log() {
    std::panic::set_hook(Box::new(|panic| log(BERTSCRIPT_LOG_ERROR, &panic.to_string())));
}
