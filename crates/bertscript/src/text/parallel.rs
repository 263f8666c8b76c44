//! Work on many texts, by threads of this library's own.

use crate::error::Result;
use crate::memory::{collect, with_capacity};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// The threads of this process, from their first use until they are shut down.
static THREADS: Mutex<Option<Arc<Threads>>> = Mutex::new(None);

/// A pool whose threads are joined when the last call that uses it is done.
struct Threads {
    pool: Option<ThreadPool>,
    handles: Vec<JoinHandle<()>>,
    /// Tells the process that started them from its children.
    fork_count: usize,
}

/// What `each` makes of every item, in their order: with as many threads as
/// libtorch has for one operation, so that a host which gives it one gets no
/// others.
pub(super) fn map<I: Sync, O: Send>(
    items: &[I],
    each: impl Fn(usize, &I) -> O + Sync,
) -> Result<Vec<O>> {
    let threads = threads(items.len());
    let Some(pool) = threads.as_ref().and_then(|threads| threads.pool.as_ref()) else {
        return Ok(collect(items.iter().enumerate().map(|(number, item)| each(number, item)))?);
    };
    let mut results = with_capacity(items.len())?;
    let all = items.par_iter().enumerate().map(|(number, item)| each(number, item));
    pool.install(|| all.collect_into_vec(&mut results));
    Ok(results)
}

/// Ends the threads, once no call uses them; the next call that needs some starts others.
pub(crate) fn shut_down() {
    let threads = THREADS.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(threads);
}

/// The threads, which start when they are first of use. If the system has none to
/// give, the caller's does the work, and the next call asks again.
fn threads(items: usize) -> Option<Arc<Threads>> {
    if items < 2 {
        return None;
    }
    let count = usize::try_from(tch::get_num_threads()).unwrap_or(1);
    if count < 2 {
        return None;
    }
    let mut threads = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    if threads.as_ref().is_none_or(|threads| threads.fork_count != torchscript::fork_count()) {
        *threads = Threads::start(count).map(Arc::new);
    }
    threads.clone()
}

impl Threads {
    fn start(count: usize) -> Option<Self> {
        let mut handles = Vec::with_capacity(count);
        let spawn = |thread: rayon::ThreadBuilder| {
            let builder =
                std::thread::Builder::new().name(format!("bertscript-{}", thread.index()));
            handles.push(builder.spawn(|| thread.run())?);
            Ok(())
        };
        let pool = ThreadPoolBuilder::new().num_threads(count).spawn_handler(spawn).build().ok()?;
        Some(Self { pool: Some(pool), handles, fork_count: torchscript::fork_count() })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let (pool, handles) = (self.pool.take(), std::mem::take(&mut self.handles));
        if self.fork_count != torchscript::fork_count() {
            // They are threads of a parent: nothing here may wait for them or touch them.
            std::mem::forget((pool, handles));
            return;
        }
        drop(pool);
        for handle in handles {
            // A panic of a task has been handed to its caller.
            let _ = handle.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "calls libtorch")]
    fn threads_are_shut_down_and_start_again() {
        if tch::get_num_threads() < 2 {
            return;
        }
        let texts: Vec<_> = (0..64).collect();
        for _ in 0..3 {
            let threads = threads(texts.len()).unwrap();
            let sums = map(&texts, |number, text| number + text).unwrap();
            assert_eq!(sums, map(&texts, |_, text| 2 * text).unwrap());
            let kept = Arc::downgrade(&threads);
            shut_down();
            // A call that runs keeps them.
            assert!(kept.upgrade().is_some());
            drop(threads);
            assert!(kept.upgrade().is_none());
        }
    }
}
