//! What the process and the calling thread allow: after `fork()`, while the process
//! exits, and on a small stack.
//!
//! A forked child has one thread, and the locks and thread pools of all others as they
//! were. What is counted here tells whether that is known to be harmless.

use crate::error::{Error, ErrorKind, Result, check};
use crate::ffi;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes of stack that a call needs: loading, the deepest, takes 63 KiB in a debug build,
/// and 11 KiB are for a signal or the state of AMX registers while a symbol is bound.
pub const MIN_STACK: usize = 74 << 10;

/// Threads that are inside the library.
static CALLS: AtomicUsize = AtomicUsize::new(0);
/// How many forks led to this process since the library was first used.
static FORKS: AtomicUsize = AtomicUsize::new(0);
static IS_REGISTERED: AtomicBool = AtomicBool::new(false);
static IS_EXITING: AtomicBool = AtomicBool::new(false);
/// In a child: another thread was inside the library, and may have held a lock.
static FORKED_IN_CALL: AtomicBool = AtomicBool::new(false);
static USES_CUDA: AtomicBool = AtomicBool::new(false);
/// In a child: the parent had used CUDA.
static LOST_CUDA: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Calls of this thread, one inside another.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// In a child: this thread may have an OpenMP pool whose threads are gone.
    static LOST_POOL: Cell<bool> = const { Cell::new(false) };
    /// Threads of the process when this thread's pool was shut down; 0 after another call.
    static THREADS_LEFT: Cell<usize> = const { Cell::new(0) };
    static THREADS_AT_FORK: Cell<usize> = const { Cell::new(0) };
    static STACK: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// While it lives, this thread is inside the library. Entries may be nested.
#[derive(Debug)]
pub struct Entered {
    // Counted for the thread: the guard must not leave it.
    thread_bound: PhantomData<*const ()>,
}

/// Enters the library.
///
/// # Errors
/// [`ErrorKind::ProcessState`] if the call could hang or crash: in a child that was forked
/// while another thread was inside the library, after the process began to exit, or with
/// fewer than [`MIN_STACK`] bytes of stack left.
pub fn enter() -> Result<Entered> {
    let refuse = |message: &str| Err(Error::new(ErrorKind::ProcessState, message));
    if FORKED_IN_CALL.load(Ordering::Relaxed) {
        return refuse("process: found a fork during calls of other threads, expected none");
    }
    if IS_EXITING.load(Ordering::Relaxed) {
        return refuse("process: found a call after exit began, expected none");
    }
    let depth = DEPTH.get();
    // Miri calls no function of the system.
    if depth == 0 && !cfg!(miri) {
        if let Some(left) = stack_left().filter(|left| *left < MIN_STACK) {
            let message = format!("stack: found {left} bytes left, expected at least {MIN_STACK}");
            return refuse(&message);
        }
        if !IS_REGISTERED.swap(true, Ordering::Relaxed) {
            register();
        }
    }
    DEPTH.set(depth + 1);
    let entered = Entered { thread_bound: PhantomData };
    if depth == 0 {
        CALLS.fetch_add(1, Ordering::SeqCst);
        THREADS_LEFT.set(0);
        if LOST_POOL.get() {
            // SAFETY: takes nothing; sets what is this thread's.
            check(unsafe { ffi::ts_use_one_thread() })?;
        }
    }
    Ok(entered)
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

/// How many forks led to this process since the library was first used: thread pools of
/// another count are those of a parent, whose threads are not here.
pub fn fork_count() -> usize {
    FORKS.load(Ordering::Relaxed)
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
        libc::atexit(at_exit);
    }
}

extern "C" fn at_exit() {
    IS_EXITING.store(true, Ordering::Relaxed);
}

extern "C" fn before_fork() {
    THREADS_AT_FORK.set(thread_count());
}

extern "C" fn in_child() {
    let own = usize::from(DEPTH.get() > 0);
    // As it was when the process was copied: whoever entered before is counted.
    if CALLS.swap(own, Ordering::SeqCst) > own {
        FORKED_IN_CALL.store(true, Ordering::Relaxed);
    }
    if THREADS_AT_FORK.get() > THREADS_LEFT.get().max(1) {
        LOST_POOL.set(true);
    }
    if USES_CUDA.load(Ordering::Relaxed) {
        LOST_CUDA.store(true, Ordering::Relaxed);
    }
    FORKS.fetch_add(1, Ordering::Relaxed);
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

/// The bytes between here and the end of this thread's stack; none if they are not known,
/// as on a stack that the program has made itself.
fn stack_left() -> Option<usize> {
    let here = 0_u8;
    let here = (&raw const here).addr();
    let (low, high) = match STACK.get() {
        Some(stack) => stack,
        None => stack_bounds()?,
    };
    STACK.set(Some((low, high)));
    (low..high).contains(&here).then(|| here - low)
}

#[cfg(target_os = "linux")]
fn stack_bounds() -> Option<(usize, usize)> {
    let (mut low, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the attributes are initialised by the first call, and destroyed if it
    // succeeds; the outputs are live.
    unsafe {
        let mut attributes = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) != 0 {
            return None;
        }
        let failed = libc::pthread_attr_getstack(&attributes, &mut low, &mut size);
        libc::pthread_attr_destroy(&mut attributes);
        if failed != 0 {
            return None;
        }
    }
    Some((low.addr(), low.addr() + size))
}

#[cfg(not(target_os = "linux"))]
fn stack_bounds() -> Option<(usize, usize)> {
    None
}
