//! Which threads a call may use.

use crate::error::Result;
use crate::text;
use bertscript_kernels::Team;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The calls that are running.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Ends the threads that this library keeps between calls and that can be ended: those
/// that encode texts, and those of the calling thread's OpenMP pool. The next call
/// starts others.
///
/// libtorch gives each thread that computes an OpenMP pool of its own, which ends with that
/// thread or here. A child of `fork()` computes on one thread where the forking thread has
/// a pool; called directly before `fork()`, with no other thread started in between,
/// this lets the child have as many as its parent. Threads that other calls are using end
/// with these calls.
///
/// # Errors
/// [`ErrorKind::ProcessState`](crate::ErrorKind::ProcessState) inside of a parallel region of
/// OpenMP, and where no call is possible.
pub fn shutdown_threads() -> Result<()> {
    let _entered = torchscript::enter()?;
    text::shut_down();
    Ok(torchscript::end_pool()?)
}

/// How many threads a call may use, of those that libtorch has for one operation: all of
/// them, or fewer while other calls run.
pub(super) struct ThreadQuota {
    threads: usize,
}

impl ThreadQuota {
    /// Takes a quota until it is dropped.
    pub(super) fn take() -> Self {
        let running = RUNNING.fetch_add(1, Ordering::Relaxed) + 1;
        // Inside of a parallel region there is only this thread.
        let all = match torchscript::in_parallel_region() {
            true => 1,
            false => usize::try_from(tch::get_num_threads()).unwrap_or(1),
        };
        Self { threads: all.div_ceil(running).max(1) }
    }

    /// How many threads it has.
    pub(super) fn threads(&self) -> usize {
        self.threads
    }
}

impl Drop for ThreadQuota {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Threads of libtorch's.
#[derive(Debug)]
pub(super) struct LibtorchTeam {
    members: usize,
}

impl LibtorchTeam {
    pub(super) fn new(members: usize) -> Self {
        Self { members }
    }
}

impl Team for LibtorchTeam {
    fn members(&self) -> usize {
        self.members
    }

    fn run(&self, work: &(dyn Fn() + Sync)) {
        if self.members < 2 {
            return work();
        }
        let members = self.members;
        let ran = torchscript::on_threads(|number| {
            if number < members {
                work();
            }
        });
        if ran.is_err() {
            // No thread could be had: this one does it all.
            work();
        }
    }
}
