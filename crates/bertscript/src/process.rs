//! What the process allows, and which threads calls have.

use crate::error::Result;
#[cfg(not(feature = "torch"))]
use crate::plugin::Request;
use bertscript_kernels::Team;
pub use bertscript_process::MAX_THREADS;
use bertscript_process::{Entered, Threads};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many threads a call may use on the CPU, the caller's included: what was set, or else
/// `OMP_NUM_THREADS`, or else the cores that the thread which asks first may run on, where two
/// threads of one core count once. Calls that run at once share them.
pub fn thread_count() -> usize {
    bertscript_process::thread_count()
}

/// Sets [`thread_count`], and with it how many threads one operation of libtorch may use, for
/// the whole process: from 1 to [`MAX_THREADS`], which other numbers become. It holds for calls that
/// begin after it, and in libtorch for this thread and those that begin after it.
pub fn set_thread_count(count: usize) {
    bertscript_process::set_thread_count(count);
    // At most `MAX_THREADS`.
    #[cfg(feature = "torch")]
    tch::set_num_threads(thread_count() as i32);
    // It takes what it is told, or cannot be asked for anything either.
    #[cfg(not(feature = "torch"))]
    let _ = crate::plugin::tell(&Request::SetThreads { count: thread_count() });
}

/// Ends the threads that this library keeps between calls and that can be ended: those
/// that help with the work of calls, and those of the calling thread's OpenMP pool, with which
/// libtorch computes. The next call starts others. Threads that other calls are using end
/// with these calls.
///
/// libtorch gives each thread that computes an OpenMP pool of its own, which ends with that
/// thread or here. In a child of `fork()`, libtorch computes on one thread where the forking
/// thread has a pool; called directly before `fork()`, with no other thread started in
/// between, this lets it have as many as in its parent. The native engine has all of its
/// threads in a child, whatever its parent did.
///
/// # Errors
/// [`ErrorKind::ProcessState`](crate::ErrorKind::ProcessState) inside of a parallel region of
/// OpenMP, and where no call is possible.
pub fn shutdown_threads() -> Result<()> {
    let _entered = enter()?;
    bertscript_process::shut_down();
    #[cfg(feature = "torch")]
    torchscript::end_pool()?;
    #[cfg(not(feature = "torch"))]
    crate::plugin::tell(&Request::ShutDown)?;
    Ok(())
}

/// Enters the library.
///
/// # Errors
/// [`ErrorKind::ProcessState`](crate::ErrorKind::ProcessState) if the call could hang or
/// crash.
pub(crate) fn enter() -> Result<Entered> {
    #[cfg(feature = "torch")]
    return Ok(torchscript::enter()?);
    #[cfg(not(feature = "torch"))]
    Ok(bertscript_process::enter()?)
}

/// The calls that are running.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// The threads of a call: all that a call may use, or fewer while other calls run.
#[derive(Debug)]
pub(crate) struct CallThreads(Threads);

impl CallThreads {
    /// Takes them until they are dropped.
    pub(crate) fn take() -> Self {
        let running = RUNNING.fetch_add(1, Ordering::Relaxed) + 1;
        Self(Threads::new(thread_count().div_ceil(running)))
    }
}

impl Drop for CallThreads {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Team for CallThreads {
    fn members(&self) -> usize {
        self.0.members()
    }

    fn run(&self, work: &(dyn Fn() + Sync)) {
        self.0.run(work);
    }
}
