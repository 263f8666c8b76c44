//! Threads that share a kernel's work.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that do a piece of work together.
pub trait Team: Sync {
    /// How many threads are expected to take part.
    fn members(&self) -> usize;

    /// Calls `work` on each of them, once, and returns when all are done. Fewer
    /// may take part than expected; one does.
    fn run(&self, work: &(dyn Fn() + Sync));
}

/// The caller's thread alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Solo;

impl Team for Solo {
    fn members(&self) -> usize {
        1
    }

    fn run(&self, work: &(dyn Fn() + Sync)) {
        work();
    }
}

/// Calls `each` for 0 to `count - 1`, each once, on whichever thread is free.
/// `start` makes what a thread uses for one after another.
pub(crate) fn share<W>(
    team: &dyn Team,
    count: usize,
    start: impl Fn() -> W + Sync,
    each: impl Fn(&mut W, usize) + Sync,
) {
    if team.members() < 2 || count < 2 {
        let mut own = start();
        return (0..count).for_each(|number| each(&mut own, number));
    }
    let next = AtomicUsize::new(0);
    team.run(&|| {
        let mut own = start();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                break;
            }
            each(&mut own, number);
        }
    });
}
