//! Worker threads that callers share.
//!
//! A caller offers its job to idle workers, runs it itself, and withdraws the offers that no
//! worker has taken by then: it never waits for a worker that the scheduler gave no time, nor
//! for another caller's job.

use std::any::Any;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a thread spins before it parks: longer than a caller takes from one kernel to the
/// next, too short to be seen in the idle time of a host.
const SPIN: Duration = Duration::from_micros(300);

/// Signals that a thread causes itself, and that of profilers.
const OWN_SIGNALS: [libc::c_int; 8] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGABRT,
    libc::SIGPROF,
];

/// In [`Job::pending`]: the caller is parked until it is unparked by the last worker.
const PARKED: usize = 1 << (usize::BITS - 1);

/// Workers, which end when the last caller that uses them is done.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: Vec<Arc<Slot>>,
    threads: Vec<JoinHandle<()>>,
    wanted: usize,
    /// Tells the process that started them from its children.
    fork_count: usize,
}

/// Where a worker takes its jobs. Two of them share no cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Slot {
    /// Null while the worker is idle, [`busy`] while it runs a job, and an offer between.
    job: AtomicPtr<Job<'static>>,
    is_parked: AtomicBool,
    is_ended: AtomicBool,
}

/// A caller's job, on the stack of the caller, which returns when nothing is pending.
struct Job<'a> {
    work: &'a (dyn Fn() + Sync),
    /// Offers that were neither withdrawn nor finished.
    pending: AtomicUsize,
    caller: Thread,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// What a slot holds while its worker runs a job.
fn busy() -> *mut Job<'static> {
    ptr::without_provenance_mut(align_of::<Job<'static>>())
}

/// Spins until something is there, or for [`SPIN`].
fn spin_until(mut is_there: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    loop {
        for _ in 0..32 {
            if is_there() {
                return true;
            }
            spin_loop();
        }
        if started.elapsed() > SPIN {
            return false;
        }
    }
}

impl Pool {
    /// Starts so many, or as many as the system gives.
    pub(crate) fn start(count: usize) -> Self {
        let (slots, threads) = (Vec::new(), Vec::new());
        let mut pool = Self { slots, threads, wanted: count, fork_count: crate::fork_count() };
        for number in 0..count {
            let slot = Arc::new(Slot::default());
            let own = Arc::clone(&slot);
            let builder = thread::Builder::new().name(format!("bertscript-{number}"));
            let Ok(thread) = without_signals(|| builder.spawn(move || own.run_jobs())) else {
                break;
            };
            pool.slots.push(slot);
            pool.threads.push(thread);
        }
        pool
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether a caller that wants so many need not start others: the system, asked again,
    /// would hardly give more.
    pub(crate) fn suffices(&self, count: usize) -> bool {
        self.are_here() && self.wanted >= count
    }

    /// Whether they are of this process.
    fn are_here(&self) -> bool {
        self.fork_count == crate::fork_count()
    }

    /// Calls `work` here and on up to `count` workers, and returns when all are done.
    ///
    /// # Panics
    /// With a panic of `work`.
    pub(crate) fn run(&self, count: usize, work: &(dyn Fn() + Sync)) {
        let job = Job {
            work,
            pending: AtomicUsize::new(0),
            caller: thread::current(),
            panic: Mutex::new(None),
        };
        let this = (&raw const job).cast_mut().cast::<Job<'static>>();
        let mut offered = 0;
        let mut slots = self.slots.iter().zip(&self.threads);
        while offered < count {
            let Some((slot, thread)) = slots.next() else { break };
            // Before it may be done.
            job.pending.fetch_add(1, Ordering::Relaxed);
            if slot.put(ptr::null_mut(), this) {
                offered += 1;
                if slot.is_parked.load(Ordering::SeqCst) {
                    thread.thread().unpark();
                }
            } else {
                job.pending.fetch_sub(1, Ordering::Relaxed);
            }
        }
        // Nothing may unwind while workers have the job.
        let own = catch_unwind(AssertUnwindSafe(work));
        for slot in &self.slots {
            if slot.put(this, ptr::null_mut()) {
                job.pending.fetch_sub(1, Ordering::Relaxed);
            }
        }
        job.wait();
        let theirs = job.panic.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(payload) = own.err().or(theirs) {
            resume_unwind(payload);
        }
    }
}

impl Job<'_> {
    /// Waits until nothing is pending.
    fn wait(&self) {
        // Acquired: what workers wrote is seen.
        if spin_until(|| self.pending.load(Ordering::Acquire) == 0) {
            return;
        }
        let mut left = self.pending.fetch_or(PARKED, Ordering::AcqRel);
        while left & !PARKED != 0 {
            thread::park();
            left = self.pending.load(Ordering::Acquire);
        }
    }
}

impl Slot {
    /// Replaces what the slot holds, if it is what was expected.
    fn put(&self, expected: *mut Job<'static>, job: *mut Job<'static>) -> bool {
        self.job.compare_exchange(expected, job, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Runs jobs until it is ended.
    fn run_jobs(&self) {
        while let Some(job) = self.next() {
            // SAFETY: the job was taken from the slot, so that its caller can withdraw
            // it no more, and stays until `pending` is lowered below.
            let (work, caller, panic) = unsafe {
                let job = &*job;
                (job.work, job.caller.clone(), &job.panic)
            };
            if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
                let mut first = panic.lock().unwrap_or_else(PoisonError::into_inner);
                match &*first {
                    None => *first = Some(payload),
                    // Dropping it may panic, too.
                    Some(_) => {
                        let dropped = catch_unwind(AssertUnwindSafe(|| drop(payload)));
                        dropped.unwrap_or_else(std::mem::forget);
                    }
                }
            }
            // Before the caller leaves, which may come back at once.
            self.job.store(ptr::null_mut(), Ordering::Relaxed);
            // SAFETY: as above; nothing of the job is touched after.
            let before = unsafe { &(*job).pending }.fetch_sub(1, Ordering::AcqRel);
            if before == PARKED | 1 {
                caller.unpark();
            }
        }
    }

    /// Takes the next job; none at the end.
    fn next(&self) -> Option<*mut Job<'static>> {
        loop {
            let mut job = ptr::null_mut();
            let mut is_there = || {
                job = self.job.load(Ordering::Relaxed);
                !job.is_null() && self.put(job, busy())
            };
            if spin_until(&mut is_there) {
                return Some(job);
            }
            self.is_parked.store(true, Ordering::SeqCst);
            while self.job.load(Ordering::SeqCst).is_null() && !self.is_ended.load(Ordering::SeqCst)
            {
                thread::park();
            }
            self.is_parked.store(false, Ordering::Relaxed);
            if self.is_ended.load(Ordering::SeqCst) {
                return None;
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let threads = std::mem::take(&mut self.threads);
        if !self.are_here() {
            // They are threads of a parent: nothing here may wait for them or touch them.
            std::mem::forget(threads);
            return;
        }
        for (slot, thread) in self.slots.iter().zip(&threads) {
            slot.is_ended.store(true, Ordering::SeqCst);
            thread.thread().unpark();
        }
        for thread in threads {
            // A panic of work was handed to its caller.
            let _ = thread.join();
        }
    }
}

/// Threads that are started meanwhile get no signals that are the process's: those are for the
/// host's own. A fault of theirs is theirs.
fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    if cfg!(miri) {
        return start();
    }
    // SAFETY: all zeros are a valid set, which is filled before it is used; the mask is this
    // thread's own, and put back.
    unsafe {
        let (mut all, mut own): (libc::sigset_t, libc::sigset_t) = std::mem::zeroed();
        libc::sigfillset(&mut all);
        for own in OWN_SIGNALS {
            libc::sigdelset(&mut all, own);
        }
        let failed = libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut own);
        let started = start();
        if failed == 0 {
            libc::pthread_sigmask(libc::SIG_SETMASK, &own, ptr::null_mut());
        }
        started
    }
}
