//! Whether a call is possible: after `fork()`, while the process exits, and on this stack.
//!
//! A forked child has one thread, and the locks and thread pools of all others as they
//! were. What is counted here tells whether that is known to be harmless.

use crate::stack;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Threads that are inside the library.
static CALLS: AtomicUsize = AtomicUsize::new(0);
/// How many forks led to this process since the library was first used.
static FORKS: AtomicUsize = AtomicUsize::new(0);
static IS_REGISTERED: AtomicBool = AtomicBool::new(false);
static IS_EXITING: AtomicBool = AtomicBool::new(false);
/// In a child: another thread was inside the library, and may have held a lock.
static FORKED_IN_CALL: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Calls of this thread, one inside another.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Why the process or the thread is in no state for a call.
#[derive(Debug)]
pub struct ProcessState(String);

impl ProcessState {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for ProcessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ProcessState {}

/// While it lives, this thread is inside the library. Entries may be nested.
#[derive(Debug)]
pub struct Entered {
    is_first: bool,
    // Counted for the thread: the guard must not leave it.
    thread_bound: PhantomData<*const ()>,
}

impl Entered {
    /// Whether the thread was outside of the library before.
    pub fn is_first(&self) -> bool {
        self.is_first
    }
}

/// Enters the library.
///
/// # Errors
/// If the call could hang or crash: in a child that was forked while another thread was
/// inside the library, after the process began to exit, or with fewer than
/// [`MIN_STACK`](crate::MIN_STACK) bytes of stack left.
pub fn enter() -> Result<Entered, ProcessState> {
    let refuse = |message: &str| Err(ProcessState::new(message));
    if FORKED_IN_CALL.load(Ordering::Relaxed) {
        return refuse("process: found a fork during calls of other threads, expected none");
    }
    if IS_EXITING.load(Ordering::Relaxed) {
        return refuse("process: found a call after exit began, expected none");
    }
    let depth = DEPTH.get();
    // Miri calls no function of the system.
    if depth == 0 && !cfg!(miri) {
        stack::check()?;
        if !IS_REGISTERED.swap(true, Ordering::Relaxed) {
            register();
        }
    }
    DEPTH.set(depth + 1);
    if depth == 0 {
        CALLS.fetch_add(1, Ordering::SeqCst);
    }
    Ok(Entered { is_first: depth == 0, thread_bound: PhantomData })
}

impl Drop for Entered {
    fn drop(&mut self) {
        let depth = DEPTH.get() - 1;
        DEPTH.set(depth);
        if depth == 0 {
            CALLS.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// How many forks led to this process since the library was first used: threads of another
/// count are those of a parent, and not here.
pub fn fork_count() -> usize {
    FORKS.load(Ordering::Relaxed)
}

fn register() {
    // SAFETY: the handlers are functions of this library, which is never unloaded.
    unsafe {
        // Without memory for a handler there is no such check.
        libc::pthread_atfork(None, None, Some(in_child));
        libc::atexit(at_exit);
    }
}

extern "C" fn at_exit() {
    IS_EXITING.store(true, Ordering::Relaxed);
}

extern "C" fn in_child() {
    let own = usize::from(DEPTH.get() > 0);
    // As it was when the process was copied: whoever entered before is counted.
    if CALLS.swap(own, Ordering::SeqCst) > own {
        FORKED_IN_CALL.store(true, Ordering::Relaxed);
    }
    FORKS.fetch_add(1, Ordering::Relaxed);
}
