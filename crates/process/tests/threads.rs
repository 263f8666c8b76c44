//! Work that is shared with workers.

use bertscript_process::{Threads, set_thread_count, shut_down, thread_count};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// Workers are the process's: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

const MEMBERS: usize = 4;

/// One test's turn, at whose end no worker is left.
struct Turn(#[expect(dead_code, reason = "held")] MutexGuard<'static, ()>);

impl Drop for Turn {
    fn drop(&mut self) {
        shut_down();
    }
}

fn one() -> Turn {
    Turn(ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Adds up 0 to `count - 1`, in pieces that threads take.
fn sum(threads: &Threads, count: usize) -> usize {
    let (next, sum) = (AtomicUsize::new(0), AtomicUsize::new(0));
    threads.run(&|| {
        let mut own = 0;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                break;
            }
            own += number;
        }
        sum.fetch_add(own, Ordering::Relaxed);
    });
    sum.into_inner()
}

/// Whom the work was done by, where everybody waits for all.
fn all_members(threads: &Threads) -> BTreeSet<String> {
    let (barrier, found) = (Barrier::new(threads.members()), Mutex::new(BTreeSet::new()));
    threads.run(&|| {
        let name = thread::current().name().unwrap_or_default().to_owned();
        found.lock().unwrap().insert(name);
        barrier.wait();
    });
    found.into_inner().unwrap()
}

#[test]
fn work_is_done_by_all_members() {
    let _one = one();
    let threads = Threads::new(MEMBERS);
    // Workers that watch, and workers that sleep.
    for pause in [0, 0, 5] {
        thread::sleep(Duration::from_millis(pause));
        let found = all_members(&threads);
        assert_eq!(found.len(), MEMBERS, "{found:?}");
        assert_eq!(found.iter().filter(|name| name.starts_with("bertscript-")).count(), 3);
    }
    assert_eq!(sum(&Threads::new(1), 10), 45);
}

#[test]
fn what_is_shared_is_done_once() {
    let _one = one();
    let (rounds, callers) = if cfg!(miri) { (5, 2) } else { (3_000, 6) };
    thread::scope(|scope| {
        for caller in 0..callers {
            scope.spawn(move || {
                for round in 0..rounds {
                    let threads = Threads::new(1 + (caller + round) % MEMBERS);
                    let count = (caller * 7 + round * 3) % 40;
                    assert_eq!(sum(&threads, count), count * count.saturating_sub(1) / 2);
                    // What one call does, another may do inside of it.
                    if round % 64 == 0 {
                        threads.run(&|| assert_eq!(sum(&Threads::new(2), 9), 36));
                    }
                }
            });
        }
    });
}

#[test]
fn a_caller_does_not_wait_for_the_work_of_another() {
    let _one = one();
    shut_down();
    set_thread_count(2);
    let threads = Threads::new(2);
    let (begun, end) = (Barrier::new(3), Barrier::new(3));
    thread::scope(|scope| {
        // The only worker is here until the end.
        scope.spawn(|| {
            threads.run(&|| {
                begun.wait();
                end.wait();
            });
        });
        begun.wait();
        let calls = AtomicUsize::new(0);
        for _ in 0..10 {
            threads.run(&|| _ = calls.fetch_add(1, Ordering::Relaxed));
        }
        assert_eq!(calls.into_inner(), 10);
        end.wait();
    });
}

#[test]
fn a_panic_is_the_callers_once_all_are_done() {
    let _one = one();
    let threads = Threads::new(MEMBERS);
    let main = thread::current().id();
    for by_caller in [true, false] {
        let (barrier, done) = (Barrier::new(MEMBERS), AtomicUsize::new(0));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            threads.run(&|| {
                barrier.wait();
                assert!((thread::current().id() == main) != by_caller, "as wanted");
                done.fetch_add(1, Ordering::Relaxed);
            });
        }));
        let payload = panicked.unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"as wanted"));
        assert_eq!(done.into_inner(), if by_caller { MEMBERS - 1 } else { 1 });
        assert_eq!(sum(&threads, 100), 4950);
    }
}

#[test]
fn workers_end_when_the_last_caller_is_done() {
    let _one = one();
    let named = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
        names.filter(|name| name.as_ref().is_ok_and(|name| name.starts_with("bertscript-"))).count()
    };
    if cfg!(miri) {
        return;
    }
    for _ in 0..3 {
        let threads = Threads::new(MEMBERS);
        all_members(&threads);
        assert!(named() >= MEMBERS - 1);
        shut_down();
        assert!(named() >= MEMBERS - 1);
        all_members(&threads);
        drop(threads);
        // Whoever waits for a thread is told a little before the system forgets it.
        let gone = (0..1000).any(|_| {
            thread::sleep(Duration::from_millis(1));
            named() == 0
        });
        assert!(gone);
    }
}

#[test]
fn the_number_of_threads_can_be_set() {
    let _one = one();
    // Miri has no files of the system.
    if !cfg!(miri) {
        assert!(thread_count() >= 1);
    }
    for (set, expected) in [(3, 3), (0, 1), (1 << 20, 4096), (1, 1)] {
        set_thread_count(set);
        assert_eq!(thread_count(), expected);
    }
}
