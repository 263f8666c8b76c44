//! Which threads a call may use.

use bertscript_kernels::Team;
use bertscript_process::{Threads, thread_count};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The calls that are running.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// The threads of a call: all that a call may use, or fewer while other calls run.
#[derive(Debug)]
pub(super) struct CallThreads(Threads);

impl CallThreads {
    /// Takes them until they are dropped.
    pub(super) fn take() -> Self {
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
