//! What a call is made in: the stream of a device, and where messages go.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::marker::PhantomData;
use std::sync::OnceLock;

/// A stream of a CUDA device, as it crosses the boundary.
#[repr(C)]
#[derive(Debug)]
pub struct Stream {
    device: i32,
    handle: *mut c_void,
}

/// Takes a level and a text in UTF-8.
pub(crate) type LogFunction = unsafe extern "C" fn(level: i32, text: *const c_char, length: usize);

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum LogLevel {
    /// A mistake in the plug-in, which the call returns as an error too.
    Error = 1,
    /// A warning of libtorch.
    Warning = 2,
}

/// A stream of the caller's on a CUDA device: a `cudaStream_t`.
#[derive(Debug, Clone, Copy)]
pub struct CudaStream(*mut c_void);

impl CudaStream {
    /// A stream; NULL is the default one of its device.
    ///
    /// # Safety
    /// It lives as long as work is put on it, and is one of the device whose work that is.
    pub unsafe fn from_raw(handle: *mut c_void) -> Self {
        Self(handle)
    }

    /// The handle.
    pub fn as_raw(self) -> *mut c_void {
        self.0
    }
}

thread_local! {
    static CURRENT: Cell<Option<(i32, CudaStream)>> = const { Cell::new(None) };
}

/// While it lives, what this thread has the plug-in do on a device is put on a stream.
#[derive(Debug)]
pub struct OnStream {
    before: Option<(i32, CudaStream)>,
    // The stream is the thread's: the guard must not leave it.
    thread_bound: PhantomData<*const ()>,
}

impl OnStream {
    /// Makes a stream the current one of a device.
    pub fn enter(device: usize, stream: CudaStream) -> Self {
        // The plug-in refuses a number that no device has.
        let device = i32::try_from(device).unwrap_or(i32::MAX);
        Self { before: CURRENT.replace(Some((device, stream))), thread_bound: PhantomData }
    }
}

impl Drop for OnStream {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

/// The stream that a call is made on.
pub(crate) fn current_stream() -> Option<Stream> {
    CURRENT.get().map(|(device, stream)| Stream { device, handle: stream.0 })
}

static SINK: OnceLock<fn(LogLevel, &str)> = OnceLock::new();

/// Sends the messages of the plug-in to a function: on the threads that ask, and on those that
/// it starts itself. Without one they are written to standard error. The first function of the
/// process stays.
pub fn send_log_to(sink: fn(LogLevel, &str)) {
    SINK.get_or_init(|| sink);
}

/// What the plug-in is to send its messages to.
pub(crate) fn current_log() -> Option<LogFunction> {
    SINK.get().map(|_| hand_on as LogFunction)
}

unsafe extern "C" fn hand_on(level: i32, text: *const c_char, length: usize) {
    // SAFETY: the plug-in hands over a live text of this length.
    let bytes = unsafe { crate::interface::bytes(text, length) };
    if let Some(sink) = SINK.get() {
        let level = match level {
            1 => LogLevel::Error,
            _ => LogLevel::Warning,
        };
        // A panic must not unwind into C.
        let _ = std::panic::catch_unwind(|| sink(level, &String::from_utf8_lossy(bytes)));
    }
}

/// Where a plug-in is to send its messages.
#[derive(Debug, Clone, Copy)]
pub struct Log(LogFunction);

impl Log {
    /// Sends a message.
    pub fn send(self, level: LogLevel, text: &str) {
        // SAFETY: by the contract of the interface it takes a live text, on any thread.
        unsafe { (self.0)(level as i32, text.as_ptr().cast(), text.len()) };
    }
}

/// What a request is to be answered in.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// The number of a CUDA device, and the stream for what is done on it.
    pub stream: Option<(usize, CudaStream)>,
    /// Where messages go; to standard error, if none.
    pub log: Option<Log>,
}

impl Context {
    /// # Safety
    /// The stream lives as long as the context, and the function is that of the interface.
    pub(crate) unsafe fn of(stream: Option<&Stream>, log: Option<LogFunction>) -> Self {
        let stream = stream.map(|stream| {
            (usize::try_from(stream.device).unwrap_or(usize::MAX), CudaStream(stream.handle))
        });
        Self { stream, log: log.map(Log) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_left_in_reverse_order() {
        assert!(current_stream().is_none());
        // SAFETY: no work is put on it.
        let [first, second] = [1, 2].map(|handle| unsafe {
            CudaStream::from_raw(std::ptr::without_provenance_mut(handle))
        });
        let outer = OnStream::enter(0, first);
        {
            let _inner = OnStream::enter(3, second);
            let found = current_stream().unwrap();
            assert_eq!((found.device, found.handle), (3, second.as_raw()));
            // SAFETY: as above.
            let context = unsafe { Context::of(Some(&found), None) };
            assert_eq!(
                context.stream.map(|(device, stream)| (device, stream.as_raw())),
                Some((3, second.as_raw()))
            );
            let other = std::thread::spawn(|| current_stream().is_none());
            assert!(other.join().unwrap());
        }
        assert_eq!(current_stream().unwrap().handle, first.as_raw());
        drop(outer);
        assert!(current_stream().is_none());
    }
}
