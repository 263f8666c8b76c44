//! Threads that share a kernel's work.

use crate::memory::OutOfMemory;
use std::sync::OnceLock;
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
/// `start` makes what a thread uses for one after another. If either
/// fails, no thread begins another.
pub(crate) fn parallel_for<W>(
    team: &dyn Team,
    count: usize,
    start: impl Fn() -> Result<W, OutOfMemory> + Sync,
    each: impl Fn(&mut W, usize) -> Result<(), OutOfMemory> + Sync,
) -> Result<(), OutOfMemory> {
    if team.members() < 2 || count < 2 {
        let mut own = start()?;
        return (0..count).try_for_each(|number| each(&mut own, number));
    }
    let next = AtomicUsize::new(0);
    let take_part = || {
        let mut own = start()?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            each(&mut own, number)?;
        }
    };
    let failed = OnceLock::new();
    team.run(&|| {
        if let Err(error) = take_part() {
            next.store(count, Ordering::Relaxed);
            let _ = failed.set(error);
        }
    });
    failed.into_inner().map_or(Ok(()), Err)
}
