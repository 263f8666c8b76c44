//! Work of our own on libtorch's threads.

use crate::error::{Error, ErrorKind, Result, check};
use crate::ffi;
use std::any::Any;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;

/// Calls `work` once on each thread that libtorch would use for one operator,
/// with the thread's number, and returns when all are done. Operators called
/// by it use its thread only; inference mode and the place for warnings are
/// the caller's.
///
/// With one thread, or inside of such work, it is one call on this thread.
///
/// # Panics
/// With the first panic of `work`, once all threads are done.
pub fn on_threads(work: impl Fn(usize) + Sync) -> Result<()> {
    let call = Call { work: &work, panic: Mutex::new(None) };
    let user = (&raw const call).cast_mut().cast::<c_void>();
    // SAFETY: the call state outlives the call, which returns when every thread
    // is done, and the trampoline reads it as what it is.
    check(unsafe { ffi::ts_on_threads(trampoline, user) })?;
    match call.panic.into_inner() {
        Ok(None) => Ok(()),
        Ok(Some(payload)) => resume_unwind(payload),
        Err(_) => Err(Error::new(ErrorKind::Panic, "a thread panicked twice")),
    }
}

/// Whether operators called here use this thread only: inside of
/// [`on_threads`], or of libtorch's own.
pub fn in_parallel_region() -> bool {
    // SAFETY: takes nothing.
    unsafe { ffi::ts_in_parallel_region() != 0 }
}

struct Call<'a> {
    work: &'a (dyn Fn(usize) + Sync),
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

unsafe extern "C" fn trampoline(user: *mut c_void, thread: c_int) {
    // SAFETY: `user` is the `Call` of the `on_threads` that is running; it may
    // be read from any thread.
    let call = unsafe { &*user.cast::<Call<'_>>() };
    let thread = usize::try_from(thread).unwrap_or(0);
    // A panic must not unwind into C++; the caller gets the first one.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| (call.work)(thread)))
        && let Ok(mut first) = call.panic.lock()
    {
        first.get_or_insert(payload);
    }
}
