//! Inference mode, versions and warnings.

use crate::ffi;
use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::sync::OnceLock;

/// While it lives, this thread records nothing for autograd
/// (`c10::InferenceMode`). Guards end in the reverse order of their making.
#[derive(Debug)]
pub struct InferenceMode {
    raw: *mut c_void,
    // The mode belongs to the thread: the guard must not leave it.
    thread_bound: PhantomData<*const ()>,
}

impl InferenceMode {
    /// Switches the mode on for this thread.
    pub fn enter() -> Self {
        // SAFETY: takes nothing; a NULL on exhaustion is accepted by the free function.
        Self { raw: unsafe { ffi::ts_inference_mode_new() }, thread_bound: PhantomData }
    }
}

impl Drop for InferenceMode {
    fn drop(&mut self) {
        // SAFETY: owned, freed once, on the thread that made it.
        unsafe { ffi::ts_inference_mode_free(self.raw) };
    }
}

/// While it lives, this thread runs graphs as they are written, without
/// profiling and optimising them first: the better choice for a program that is
/// called a few times only. Guards end in the reverse order of their making.
#[derive(Debug)]
pub struct Unoptimized {
    before: i32,
    // As above: the switch belongs to the thread.
    thread_bound: PhantomData<*const ()>,
}

impl Unoptimized {
    /// Switches the optimiser off for this thread.
    pub fn enter() -> Self {
        // SAFETY: sets a thread-local flag.
        Self { before: unsafe { ffi::ts_graph_optimizer_set(0) }, thread_bound: PhantomData }
    }
}

impl Drop for Unoptimized {
    fn drop(&mut self) {
        // SAFETY: as above, on the same thread.
        unsafe { ffi::ts_graph_optimizer_set(self.before) };
    }
}

/// While it lives, libtorch's warnings on this thread go to a function instead
/// of to standard error. Guards end in the reverse order of their making.
#[derive(Debug)]
pub struct Warnings {
    raw: *mut c_void,
    // As above: the handler belongs to the thread.
    thread_bound: PhantomData<*const ()>,
}

static SINK: OnceLock<fn(&str)> = OnceLock::new();

impl Warnings {
    /// Sends this thread's warnings to `sink`. The first sink of the process is
    /// the one of all.
    pub fn redirect(sink: fn(&str)) -> Self {
        SINK.get_or_init(|| sink);
        // SAFETY: the function takes what the shim hands it; a NULL on
        // exhaustion is accepted by the free function.
        Self { raw: unsafe { ffi::ts_warnings_redirect(hand_on) }, thread_bound: PhantomData }
    }
}

impl Drop for Warnings {
    fn drop(&mut self) {
        // SAFETY: owned, freed once, on the thread that made it.
        unsafe { ffi::ts_warnings_restore(self.raw) };
    }
}

unsafe extern "C" fn hand_on(text: *const c_char, length: usize) {
    // SAFETY: the shim hands over a live text of this length.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) };
    if let Some(sink) = SINK.get() {
        // A panic must not unwind into C++.
        let _ = std::panic::catch_unwind(|| sink(String::from_utf8_lossy(bytes).trim_end()));
    }
}

/// The version of the libtorch that this process has loaded, as
/// `[major, minor, patch]`.
pub fn loaded_torch_version() -> [u8; 3] {
    // SAFETY: takes nothing.
    let [major, minor, patch, ..] = unsafe { ffi::ts_loaded_torch_version() }.to_be_bytes();
    [major, minor, patch]
}

/// The version of the libtorch this crate was compiled against.
pub fn torch_version() -> &'static str {
    // SAFETY: a literal with static lifetime.
    unsafe { CStr::from_ptr(ffi::ts_torch_version()) }.to_str().unwrap_or("unknown")
}
