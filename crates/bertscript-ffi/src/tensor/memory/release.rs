//! Telling the owner of borrowed memory that it is not needed any more.

use bertscript::dlpack::Owner;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The memory is used, and the call that borrowed it has not succeeded yet.
const PENDING: u8 = 0;
/// The call has succeeded: the memory is this library's until it is released.
const ARMED: u8 = 1;
/// The memory is not used any more; the call has not succeeded yet.
const UNUSED: u8 = 2;

/// A callback that is called once, when the memory is not used any more and the call that
/// borrowed it has succeeded; never, if that has failed.
pub(super) struct Release(Arc<Shared>);

struct Shared {
    state: AtomicU8,
    callback: Box<dyn Fn() + Send + Sync>,
}

/// Lives as long as the memory is used.
struct Used(Arc<Shared>);

/// What the caller gave: a callback that may be called on any thread.
struct AnyThread<F>(F);

// SAFETY: whoever gives a callback promises that any thread may call it.
unsafe impl<F> Send for AnyThread<F> {}
// SAFETY: as above; it is called once.
unsafe impl<F> Sync for AnyThread<F> {}

impl<F: Fn()> AnyThread<F> {
    fn call(&self) {
        (self.0)();
    }
}

impl Release {
    /// An owner for the memory, and the release that its end leads to.
    ///
    /// # Safety
    /// The callback may be called on any thread.
    pub(super) unsafe fn new(callback: impl Fn() + 'static) -> (Owner, Self) {
        let callback = AnyThread(callback);
        let callback = Box::new(move || callback.call());
        let shared = Arc::new(Shared { state: AtomicU8::new(PENDING), callback });
        (Box::new(Used(Arc::clone(&shared))), Self(shared))
    }

    /// The call has succeeded. A copy may have been made, and the memory be unused already.
    pub(super) fn arm(self) {
        if self.0.state.swap(ARMED, Ordering::AcqRel) == UNUSED {
            (self.0.callback)();
        }
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        if self.0.state.swap(UNUSED, Ordering::AcqRel) == ARMED {
            (self.0.callback)();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_released_once_and_only_after_success() {
        let calls = Arc::new(AtomicU8::new(0));
        let counted = || {
            let calls = Arc::clone(&calls);
            // SAFETY: a number that any thread may count.
            unsafe {
                Release::new(move || {
                    calls.fetch_add(1, Ordering::Relaxed);
                })
            }
        };
        let found = || calls.swap(0, Ordering::Relaxed);
        let (owner, release) = counted();
        release.arm();
        assert_eq!(found(), 0);
        drop(owner);
        assert_eq!(found(), 1);
        // A copy was made.
        let (owner, release) = counted();
        drop(owner);
        assert_eq!(found(), 0);
        release.arm();
        assert_eq!(found(), 1);
        // The call has failed, before and after.
        let (owner, release) = counted();
        drop(owner);
        drop(release);
        let (owner, release) = counted();
        drop(release);
        drop(owner);
        assert_eq!(found(), 0);
    }
}
