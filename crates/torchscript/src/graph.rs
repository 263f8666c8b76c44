//! CUDA graphs: work that is captured once and launched by one call.

use crate::error::{Result, check};
use crate::ffi;
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;

/// Work on a CUDA device that is being captured by this thread. Dropped before
/// [`Self::end`], it leaves nothing behind.
#[derive(Debug)]
pub struct CudaCapture {
    raw: *mut c_void,
    // The current stream and the capture belong to the thread.
    thread_bound: PhantomData<*const ()>,
}

impl CudaCapture {
    /// Moves this thread to a stream on which work may be tried, so that what is made
    /// at first calls is made, and then captured.
    ///
    /// # Errors
    /// If `libbertscript_cuda.so` does not lie beside the program or library, or was
    /// built without CUDA.
    pub fn begin(index: usize) -> Result<Self> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: the place is live.
        check(unsafe { ffi::ts_cuda_graph_begin(index as c_int, &mut raw) })?;
        Ok(Self { raw, thread_bound: PhantomData })
    }

    /// Captures what is launched from here on, instead of running it. Memory that
    /// tensors get meanwhile belongs to the graph.
    ///
    /// # Errors
    /// What CUDA refuses.
    pub fn capture(&mut self) -> Result<()> {
        // SAFETY: a live graph, on the thread that began it.
        check(unsafe { ffi::ts_cuda_graph_capture(self.raw) })
    }

    /// Ends the capture, and moves this thread back to its own stream.
    ///
    /// # Errors
    /// If something was launched that cannot be captured.
    pub fn end(self) -> Result<CudaGraph> {
        // SAFETY: a live graph, on the thread that began it.
        check(unsafe { ffi::ts_cuda_graph_end(self.raw) })?;
        let graph = CudaGraph { raw: self.raw };
        std::mem::forget(self);
        Ok(graph)
    }
}

impl Drop for CudaCapture {
    fn drop(&mut self) {
        // SAFETY: owned, freed once, on the thread that made it. What fails now has
        // failed before.
        let _ = check(unsafe { ffi::ts_cuda_graph_free(self.raw) });
    }
}

/// Captured work. It reads and writes the memory that it was captured with, so it
/// may run once at a time.
#[derive(Debug)]
pub struct CudaGraph {
    raw: *mut c_void,
}

// SAFETY: a finished graph belongs to no thread; it is launched through `&mut`.
unsafe impl Send for CudaGraph {}

impl CudaGraph {
    /// Launches the work on this thread's current stream.
    ///
    /// # Errors
    /// What CUDA refuses.
    pub fn replay(&mut self) -> Result<()> {
        // SAFETY: a live graph.
        check(unsafe { ffi::ts_cuda_graph_replay(self.raw) })
    }
}

impl Drop for CudaGraph {
    fn drop(&mut self) {
        // SAFETY: owned, freed once.
        let _ = check(unsafe { ffi::ts_cuda_graph_free(self.raw) });
    }
}

/// A mark in the work of a stream, for which another stream can wait.
#[derive(Debug)]
pub struct CudaEvent {
    raw: *mut c_void,
}

// SAFETY: an event belongs to no thread.
unsafe impl Send for CudaEvent {}

impl CudaEvent {
    /// An event that marks nothing yet.
    pub fn new() -> Result<Self> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: the place is live.
        check(unsafe { ffi::ts_cuda_event_new(&mut raw) })?;
        Ok(Self { raw })
    }

    /// Marks what this thread's current stream of a device was given so far.
    pub fn record(&mut self, index: usize) -> Result<()> {
        // SAFETY: a live event.
        check(unsafe { ffi::ts_cuda_event_record(self.raw, index as c_int) })
    }

    /// Lets this thread's current stream of a device wait for what was marked.
    pub fn block(&self, index: usize) -> Result<()> {
        // SAFETY: a live event.
        check(unsafe { ffi::ts_cuda_event_block(self.raw, index as c_int) })
    }
}

impl Drop for CudaEvent {
    fn drop(&mut self) {
        // SAFETY: owned, freed once.
        unsafe { ffi::ts_cuda_event_free(self.raw) };
    }
}
