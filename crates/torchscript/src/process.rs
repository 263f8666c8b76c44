//! What libtorch does not survive: its thread pools and CUDA in a forked child.
//!
//! Everything else that a process must allow, [`bertscript_process`] knows.

use crate::error::{Error, ErrorKind, Result, check};
use crate::ffi;
use bertscript_process::Entered;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

static IS_REGISTERED: AtomicBool = AtomicBool::new(false);
static USES_CUDA: AtomicBool = AtomicBool::new(false);
/// In a child: the parent had used CUDA.
static LOST_CUDA: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// In a child: this thread may have an OpenMP pool whose threads are gone.
    static LOST_POOL: Cell<bool> = const { Cell::new(false) };
    /// Threads of the process when this thread's pool was shut down; 0 after another call.
    static THREADS_LEFT: Cell<usize> = const { Cell::new(0) };
    static THREADS_AT_FORK: Cell<usize> = const { Cell::new(0) };
}

/// Enters the library: [`bertscript_process::enter`], for calls of libtorch.
///
/// # Errors
/// [`ErrorKind::ProcessState`] if the call could hang or crash.
pub fn enter() -> Result<Entered> {
    let entered = bertscript_process::enter()?;
    // Miri calls no function of the system.
    if entered.is_first() && !cfg!(miri) {
        if !IS_REGISTERED.swap(true, Ordering::Relaxed) {
            register();
        }
        THREADS_LEFT.set(0);
        if LOST_POOL.get() {
            // SAFETY: takes nothing; sets what is this thread's.
            check(unsafe { ffi::ts_use_one_thread() })?;
        }
    }
    Ok(entered)
}

/// Ends the threads that OpenMP keeps for operations called on this thread. The next
/// operation starts others.
///
/// Each thread has such a pool, which ends with it. A child that this thread forks
/// afterwards, before it calls libtorch again, has all threads at its disposal.
///
/// # Errors
/// [`ErrorKind::ProcessState`] inside of a parallel region; [`ErrorKind::Torch`] if
/// libtorch's OpenMP cannot end threads.
pub fn end_pool() -> Result<()> {
    let _entered = enter()?;
    if LOST_POOL.get() {
        return Ok(());
    }
    let mut has_ended = 0;
    // SAFETY: the output is live for the call.
    check(unsafe { ffi::ts_end_pool(&mut has_ended) })?;
    if has_ended == 0 {
        let message = "thread: found a call inside of a parallel region, expected none";
        return Err(Error::new(ErrorKind::ProcessState, message));
    }
    THREADS_LEFT.set(thread_count());
    Ok(())
}

/// Notes that CUDA has been initialised, which no child can use.
pub(crate) fn note_cuda() {
    USES_CUDA.store(true, Ordering::Relaxed);
}

/// Checks that CUDA was not used by the process that this one was forked from.
///
/// # Errors
/// [`ErrorKind::ProcessState`] if it was.
pub fn check_cuda() -> Result<()> {
    if LOST_CUDA.load(Ordering::Relaxed) {
        let message = "process: found CUDA in use before fork, expected its first use after";
        return Err(Error::new(ErrorKind::ProcessState, message));
    }
    Ok(())
}

fn register() {
    // SAFETY: the handlers are functions of this library, which is never unloaded.
    unsafe {
        // Without memory for a handler there is no such check.
        libc::pthread_atfork(Some(before_fork), None, Some(in_child));
    }
}

extern "C" fn before_fork() {
    THREADS_AT_FORK.set(thread_count());
}

extern "C" fn in_child() {
    if THREADS_AT_FORK.get() > THREADS_LEFT.get().max(1) {
        LOST_POOL.set(true);
    }
    if USES_CUDA.load(Ordering::Relaxed) {
        LOST_CUDA.store(true, Ordering::Relaxed);
    }
}

/// The threads of this process, and more than any if they cannot be counted.
#[cfg(target_os = "linux")]
fn thread_count() -> usize {
    // A directory has two links, and one more for each directory in it. A call of the
    // system alone: it is made between fork and its handlers.
    // SAFETY: all zeros are a valid `stat`; the path ends in NUL and the output is live.
    let (failed, stat) = unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        (libc::stat(c"/proc/self/task".as_ptr(), &mut stat), stat)
    };
    match failed {
        0 => usize::try_from(stat.st_nlink).map_or(usize::MAX, |links| links.saturating_sub(2)),
        _ => usize::MAX,
    }
}

#[cfg(not(target_os = "linux"))]
fn thread_count() -> usize {
    usize::MAX
}
