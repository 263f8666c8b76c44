//! How many threads work on a call.

use crate::pool::Pool;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The most threads that can be asked for.
pub const MAX_THREADS: usize = 4096;

/// 0 until it is first asked for or set.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// What was set; 0 before.
static CHOSEN: AtomicUsize = AtomicUsize::new(0);

/// The workers of this process, from their first use until they are shut down.
static POOL: Mutex<Option<Arc<Pool>>> = Mutex::new(None);

/// How many threads a call may use, the caller's included: what was set, or else
/// `OMP_NUM_THREADS`, or else the cores that the thread which asks first may run on, where two
/// threads of one core count once.
pub fn thread_count() -> usize {
    match COUNT.load(Ordering::Relaxed) {
        0 => {
            let count = default_count();
            // Unless it was set meanwhile.
            let set = COUNT.compare_exchange(0, count, Ordering::Relaxed, Ordering::Relaxed);
            set.err().unwrap_or(count)
        }
        count => count,
    }
}

/// The count that was set, if one was.
pub fn chosen_thread_count() -> Option<usize> {
    match CHOSEN.load(Ordering::Relaxed) {
        0 => None,
        count => Some(count),
    }
}

/// Sets [`thread_count`], for calls that begin after it: from 1 to [`MAX_THREADS`], which
/// other numbers become.
pub fn set_thread_count(count: usize) {
    let count = count.clamp(1, MAX_THREADS);
    CHOSEN.store(count, Ordering::Relaxed);
    COUNT.store(count, Ordering::Relaxed);
}

fn default_count() -> usize {
    let named = env::var("OMP_NUM_THREADS").ok().and_then(|value| first_number(&value));
    named.unwrap_or_else(|| {
        // It knows of limits on processor time.
        let allowed = thread::available_parallelism().map_or(1, NonZero::get);
        cores().map_or(allowed, |cores| cores.min(allowed))
    })
}

/// OpenMP takes a number for each level of nesting.
fn first_number(value: &str) -> Option<usize> {
    let first = value.split(',').next()?.trim().parse().ok()?;
    (first > 0).then_some(usize::min(first, MAX_THREADS))
}

/// The cores that this thread may run on.
fn cores() -> Option<usize> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let siblings = members(list)?.into_iter().map(|cpu| {
        let topology = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        fs::read_to_string(topology).ok()
    });
    let cores: BTreeSet<_> = siblings.collect::<Option<_>>()?;
    (!cores.is_empty()).then_some(cores.len())
}

/// The numbers in a list such as `0-3,8`.
fn members(list: &str) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last.checked_sub(first)? >= MAX_THREADS {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all)
}

/// A caller and its workers.
#[derive(Debug)]
pub struct Threads {
    members: usize,
    pool: Option<Arc<Pool>>,
}

impl Threads {
    /// So many threads, the caller's included. Workers start when they are first of use; if
    /// the system has none to give, the caller does the work, and the next call asks again. If
    /// it has some, they are all until more are wanted.
    pub fn new(members: usize) -> Self {
        Self { members, pool: (members > 1).then(|| pool(members - 1)).flatten() }
    }

    /// How many there are, the caller's included.
    pub fn members(&self) -> usize {
        self.members
    }

    /// Calls `work` here and on workers that have nothing else to do, once on each, and
    /// returns when all are done.
    ///
    /// # Panics
    /// With a panic of `work`, once all threads are done.
    pub fn run(&self, work: &(dyn Fn() + Sync)) {
        match &self.pool {
            Some(pool) => pool.run(self.members - 1, work),
            None => work(),
        }
    }
}

fn pool(count: usize) -> Option<Arc<Pool>> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if !pool.as_deref().is_some_and(|pool| pool.suffices(count)) {
        *pool = None;
        // A call may want fewer than there will be, while others run.
        let started = Pool::start(count.max(thread_count() - 1));
        *pool = (!started.is_empty()).then(|| Arc::new(started));
    }
    pool.clone()
}

/// Ends the workers, once no call uses them; the next call that needs some starts others.
pub fn shut_down() {
    let pool = POOL.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(pool);
}
