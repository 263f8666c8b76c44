//! How much stack a thread has left.

use crate::entry::ProcessState;
use std::cell::Cell;

/// Bytes of stack that a call needs: loading, the deepest, takes 63 KiB in a debug build,
/// and 11 KiB are for a signal or the state of AMX registers while a symbol is bound.
pub const MIN_STACK: usize = 74 << 10;

thread_local! {
    static BOUNDS: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// Refuses a call for which there is not enough.
pub(crate) fn check() -> Result<(), ProcessState> {
    match left().filter(|left| *left < MIN_STACK) {
        None => Ok(()),
        Some(left) => {
            let message = format!("stack: found {left} bytes left, expected at least {MIN_STACK}");
            Err(ProcessState::new(message))
        }
    }
}

/// The bytes between here and the end of this thread's stack; none if they are not known,
/// as on a stack that the program has made itself.
fn left() -> Option<usize> {
    let here = 0_u8;
    let here = (&raw const here).addr();
    let (low, high) = match BOUNDS.get() {
        Some(bounds) => bounds,
        None => bounds()?,
    };
    BOUNDS.set(Some((low, high)));
    (low..high).contains(&here).then(|| here - low)
}

#[cfg(target_os = "linux")]
fn bounds() -> Option<(usize, usize)> {
    let (mut low, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the attributes are initialised by the first call, and destroyed if it
    // succeeds; the outputs are live.
    unsafe {
        let mut attributes = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) != 0 {
            return None;
        }
        let failed = libc::pthread_attr_getstack(&attributes, &mut low, &mut size);
        libc::pthread_attr_destroy(&mut attributes);
        if failed != 0 {
            return None;
        }
    }
    Some((low.addr(), low.addr() + size))
}

#[cfg(not(target_os = "linux"))]
fn bounds() -> Option<(usize, usize)> {
    None
}
