//! What a host has of CUDA itself: streams and the free memory. They come from the
//! runtime that libtorch has loaded, since the checks are built without CUDA.

use std::ffi::{CStr, c_int, c_void};

/// `libcudart`, by function.
pub(super) struct Cudart {
    mem_get_info: unsafe extern "C" fn(*mut usize, *mut usize) -> c_int,
    stream_create_with_flags: unsafe extern "C" fn(*mut *mut c_void, u32) -> c_int,
    stream_synchronize: unsafe extern "C" fn(*mut c_void) -> c_int,
    stream_destroy: unsafe extern "C" fn(*mut c_void) -> c_int,
}

/// `cudaStreamNonBlocking`: it does not wait for the default stream.
const NON_BLOCKING: u32 = 1;

impl Cudart {
    /// Finds the runtime of this process.
    pub(super) fn load() -> Result<Self, String> {
        let name = c"libcudart.so.13";
        // SAFETY: loads a library, or finds it loaded.
        let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            return Err(format!("{name:?} cannot be loaded"));
        }
        let symbol = |name: &CStr| {
            // SAFETY: the library was loaded above and stays.
            let symbol = unsafe { libc::dlsym(library, name.as_ptr()) };
            if symbol.is_null() { Err(format!("no {name:?}")) } else { Ok(symbol) }
        };
        // SAFETY: the functions have these forms since CUDA 3.2.
        unsafe {
            Ok(Self {
                mem_get_info: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(*mut usize, *mut usize) -> c_int,
                >(symbol(c"cudaMemGetInfo")?),
                stream_create_with_flags: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(*mut *mut c_void, u32) -> c_int,
                >(symbol(c"cudaStreamCreateWithFlags")?),
                stream_synchronize: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(*mut c_void) -> c_int,
                >(symbol(c"cudaStreamSynchronize")?),
                stream_destroy: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(*mut c_void) -> c_int,
                >(symbol(c"cudaStreamDestroy")?),
            })
        }
    }

    /// Bytes of the current device that nobody uses.
    pub(super) fn free_memory(&self) -> Result<usize, String> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: both places are live.
        done("cudaMemGetInfo", unsafe { (self.mem_get_info)(&mut free, &mut total) })?;
        Ok(free)
    }

    /// A stream of this thread's current device.
    pub(super) fn stream(&self) -> Result<Stream<'_>, String> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: the place is live.
        let status = unsafe { (self.stream_create_with_flags)(&mut raw, NON_BLOCKING) };
        done("cudaStreamCreateWithFlags", status)?;
        Ok(Stream { cudart: self, raw })
    }
}

/// A stream of the host's own.
pub(super) struct Stream<'a> {
    cudart: &'a Cudart,
    pub(super) raw: *mut c_void,
}

impl Stream<'_> {
    /// Waits for what was put on it.
    pub(super) fn synchronize(&self) -> Result<(), String> {
        // SAFETY: the stream lives.
        done("cudaStreamSynchronize", unsafe { (self.cudart.stream_synchronize)(self.raw) })
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once.
        unsafe { (self.cudart.stream_destroy)(self.raw) };
    }
}

fn done(function: &str, status: c_int) -> Result<(), String> {
    if status == 0 { Ok(()) } else { Err(format!("{function} failed with {status}")) }
}
