//! What the process allows, and how many threads calls have.

use crate::error::Result;

/// How many threads a call may use on the CPU, the caller's included: what was set, or else
/// `OMP_NUM_THREADS`, or else the cores that the process may run on, where two threads of one
/// core count once. Calls that run at once share them.
pub fn thread_count() -> usize {
    bertscript_process::thread_count()
}

/// Sets [`thread_count`], and with it how many threads one operation of libtorch may use, for
/// the whole process: from 1 to 4096, which other numbers become. It holds for calls that
/// begin after it, and in libtorch for this thread and those that begin after it.
pub fn set_thread_count(count: usize) {
    bertscript_process::set_thread_count(count);
    // At most 4096.
    tch::set_num_threads(thread_count() as i32);
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
    let _entered = torchscript::enter()?;
    bertscript_process::shut_down();
    Ok(torchscript::end_pool()?)
}
