//! CUDA at run time: devices and streams.
//!
//! Programs link only the CPU part of libtorch. `libtorch_cuda.so` is loaded from
//! the same directory when a device is first asked for, so that one binary
//! serves machines with and without a GPU.

use crate::error::{Result, check};
use crate::ffi;
use crate::process;
use crate::value::RawValue;
use bertscript_plugin::CudaStream;
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;

/// A CUDA device, as its driver describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CudaDevice {
    /// Its number, as in `cuda:0`.
    pub index: usize,
    /// Its name, such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Its memory in bytes, used or not.
    pub total_memory: u64,
    /// Its generation, `(9, 0)` for one.
    pub compute_capability: (i32, i32),
}

/// How many CUDA devices there are. With none, the text says why: what of
/// libtorch or the driver is missing, or that libtorch was asked for CUDA in
/// this process before `libtorch_cuda.so` was loaded.
///
/// # Errors
/// [`crate::ErrorKind::ProcessState`] in a child that was forked after CUDA was used.
pub fn cuda_device_count() -> Result<(usize, String)> {
    process::check_cuda()?;
    let mut count = 0;
    // SAFETY: both places are live for the call.
    let reason = RawValue::new(|out| Ok(unsafe { ffi::ts_cuda_device_count(&mut count, out) }))?;
    let reason = reason.read()?.into_string()?;
    if count > 0 {
        process::note_cuda();
    }
    Ok((usize::try_from(count).unwrap_or(0), reason))
}

/// A device below [`cuda_device_count`].
///
/// # Errors
/// What the driver refuses, by its number.
pub fn cuda_device(index: usize) -> Result<CudaDevice> {
    let (mut total_memory, mut major, mut minor) = (0, 0, 0);
    let name = RawValue::new(|out| {
        // SAFETY: all places are live for the call.
        Ok(unsafe {
            ffi::ts_cuda_device_get(index as c_int, out, &mut total_memory, &mut major, &mut minor)
        })
    })?;
    let name = name.read()?.into_string()?;
    Ok(CudaDevice { index, name, total_memory, compute_capability: (major, minor) })
}

/// Waits until all that this thread put on its current stream of a device is
/// done.
pub fn cuda_synchronize(index: usize) -> Result<()> {
    // SAFETY: takes a number.
    check(unsafe { ffi::ts_cuda_synchronize(index as c_int) })
}

/// Allows products of float32 on CUDA devices to round their inputs to TF32, or
/// forbids it, as libtorch does by itself. It holds for the whole process.
pub fn allow_tf32(allowed: bool) -> Result<()> {
    // SAFETY: takes a number.
    check(unsafe { ffi::ts_cuda_allow_tf32(allowed.into()) })
}

/// While it lives, what this thread does on a device is put on a stream of the
/// caller's. Guards end in the reverse order of their making.
#[derive(Debug)]
pub struct OnStream {
    raw: *mut c_void,
    // The current stream belongs to the thread: the guard must not leave it.
    thread_bound: PhantomData<*const ()>,
}

impl OnStream {
    /// Makes a stream the current one of a device on this thread.
    ///
    /// # Errors
    /// What libtorch says of a device that is not there.
    pub fn enter(device: usize, stream: CudaStream) -> Result<Self> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: the stream lives, by the contract of its type; the place is live.
        check(unsafe { ffi::ts_cuda_stream_enter(device as c_int, stream.as_raw(), &mut raw) })?;
        Ok(Self { raw, thread_bound: PhantomData })
    }
}

impl Drop for OnStream {
    fn drop(&mut self) {
        // SAFETY: owned, freed once, on the thread that made it.
        unsafe { ffi::ts_cuda_stream_leave(self.raw) };
    }
}
