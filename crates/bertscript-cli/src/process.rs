//! What the command settles about its own process before anything else runs.

use std::sync::atomic::{AtomicBool, Ordering};

static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Called by the loader before constructors of libraries, which may open files, and
/// before Rust's runtime, which opens /dev/null in place of a closed standard stream:
/// from then on everything that is printed is lost without an error. The descriptor
/// alone does not tell afterwards: parents give `/dev/null` opened the same way.
#[used]
#[unsafe(link_section = ".preinit_array")]
static RECORD_STDOUT: extern "C" fn() = record_stdout;

extern "C" fn record_stdout() {
    // SAFETY: F_GETFD takes no argument and accesses no memory of this process.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    STDOUT_WAS_CLOSED.store(flags == -1, Ordering::Relaxed);
}

/// Whether the process started without a standard output.
pub(crate) fn stdout_was_closed() -> bool {
    STDOUT_WAS_CLOSED.load(Ordering::Relaxed)
}

/// Lets a write beyond `RLIMIT_FSIZE` fail, instead of ending the process, so that it is
/// reported and the unfinished file removed.
pub(crate) fn ignore_file_size_signal() {
    // SAFETY: SIG_IGN runs no code of ours in a handler.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}
