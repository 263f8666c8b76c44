//! Work on many items, by the threads of a call.

use crate::error::Result;
use crate::memory::{collect, with_capacity};
use bertscript_process::{Threads, thread_count};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Items that a thread takes at once.
const TAKEN: usize = 16;

/// What `each` makes of every item, in their order: with as many threads as a call may use,
/// so that a host which gives it one gets no others.
pub(crate) fn map<I: Sync, O: Send>(
    items: &[I],
    each: impl Fn(usize, &I) -> O + Sync,
) -> Result<Vec<O>> {
    let threads = if items.len() < 2 { 1 } else { thread_count() };
    if threads < 2 {
        return Ok(collect(items.iter().enumerate().map(|(number, item)| each(number, item)))?);
    }
    // Few items are shared, too: a text may be long.
    let taken = (items.len() / (4 * threads)).clamp(1, TAKEN);
    let next = AtomicUsize::new(0);
    let (parts, failed) = (Mutex::new(Vec::new()), Mutex::new(None));
    Threads::new(threads).run(&|| {
        loop {
            let first = next.fetch_add(taken, Ordering::Relaxed);
            let Some(left) = items.get(first..).filter(|left| !left.is_empty()) else { return };
            let numbered = (first..).zip(&left[..left.len().min(taken)]);
            match collect(numbered.map(|(number, item)| each(number, item))) {
                Ok(made) => lock(&parts).push((first, made)),
                Err(error) => {
                    // The others need not go on.
                    next.store(items.len(), Ordering::Relaxed);
                    *lock(&failed) = Some(error);
                }
            }
        }
    });
    if let Some(error) = lock(&failed).take() {
        return Err(error.into());
    }
    let mut parts = parts.into_inner().unwrap_or_else(PoisonError::into_inner);
    parts.sort_unstable_by_key(|(first, _)| *first);
    let mut results = with_capacity(items.len())?;
    results.extend(parts.into_iter().flat_map(|(_, made)| made));
    Ok(results)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "asks the system for its cores")]
    fn results_come_in_the_order_of_items() {
        for count in [0, 1, 2, 3, 15, 16, 17, 1000] {
            let items: Vec<_> = (0..count).collect();
            let made = map(&items, |number, item| (number, 2 * item)).unwrap();
            assert_eq!(made, items.iter().map(|item| (*item, 2 * item)).collect::<Vec<_>>());
        }
    }
}
