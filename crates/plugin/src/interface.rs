//! What crosses the boundary, in C.

use crate::context::{Context, LogFunction, Stream};
use crate::dlpack::{DLManagedTensorVersioned, ManagedTensor};
use std::ffi::{CStr, c_char, c_void};
use std::ptr::NonNull;

/// The version of [`Interface`]: that of its layout and of the requests.
pub const VERSION: u32 = 2;

/// The name of the function of the plug-in that returns its [`Interface`].
pub(crate) const ENTRY: &CStr = c"bertscript_torch_interface";
pub(crate) type Entry = unsafe extern "C" fn() -> *const Interface;

/// What a plug-in offers. Later versions begin with the same field.
#[repr(C)]
#[derive(Debug)]
pub struct Interface {
    /// [`VERSION`]
    pub version: u32,
    /// The release of bertscript that the plug-in is of.
    pub release: *const c_char,
    /// Answers a request.
    pub call: unsafe extern "C" fn(request: *const Request, reply: *mut Reply),
}

// SAFETY: the text is a literal.
unsafe impl Send for Interface {}
// SAFETY: as above.
unsafe impl Sync for Interface {}

/// A text in UTF-8, and tensors, which the plug-in takes; what it does meanwhile on a device is
/// put on the stream, and what it says goes to the log, where they are not NULL.
#[repr(C)]
#[derive(Debug)]
pub struct Request {
    pub(crate) text: *const c_char,
    pub(crate) length: usize,
    pub(crate) tensors: *const *mut DLManagedTensorVersioned,
    pub(crate) count: usize,
    pub(crate) stream: *const Stream,
    pub(crate) log: Option<LogFunction>,
}

/// A text in UTF-8, and tensors, which whoever asked takes; `release` ends the rest.
#[repr(C)]
#[derive(Debug)]
pub struct Reply {
    pub(crate) text: *const c_char,
    pub(crate) length: usize,
    pub(crate) tensors: *const *mut DLManagedTensorVersioned,
    pub(crate) count: usize,
    pub(crate) owner: *mut c_void,
    pub(crate) release: Option<unsafe extern "C" fn(*mut c_void)>,
}

/// What answers requests in a plug-in.
pub trait Answer {
    /// Answers a request; must not panic. No tensors come with what is no request.
    fn answer(
        request: &str,
        tensors: Vec<ManagedTensor>,
        context: Context,
    ) -> (String, Vec<ManagedTensor>);
}

impl Interface {
    /// The interface of a plug-in.
    pub const fn of<A: Answer>(release: &'static CStr) -> Self {
        Self { version: VERSION, release: release.as_ptr(), call: call::<A> }
    }
}

struct Owner {
    text: String,
    tensors: Vec<*mut DLManagedTensorVersioned>,
}

unsafe extern "C" fn call<A: Answer>(request: *const Request, reply: *mut Reply) {
    // SAFETY: both are live by the contract of the interface, as are the arrays; the tensors
    // are given away.
    unsafe {
        let request = &*request;
        let text = bytes(request.text, request.length);
        let tensors = taken(request.tensors, request.count);
        let context = Context::of(request.stream.as_ref(), request.log);
        let text = std::str::from_utf8(text).unwrap_or_default();
        let (text, tensors) = A::answer(text, tensors, context);
        let tensors = tensors.into_iter().map(|tensor| tensor.into_raw().as_ptr()).collect();
        let owner = Box::new(Owner { text, tensors });
        *reply = Reply {
            text: owner.text.as_ptr().cast(),
            length: owner.text.len(),
            tensors: owner.tensors.as_ptr(),
            count: owner.tensors.len(),
            owner: std::ptr::null_mut(),
            release: Some(release),
        };
        (*reply).owner = Box::into_raw(owner).cast();
    }
}

unsafe extern "C" fn release(owner: *mut c_void) {
    // SAFETY: the box of `call`, given back once.
    drop(unsafe { Box::from_raw(owner.cast::<Owner>()) });
}

/// # Safety
/// `first` is to `length` live bytes, if there are some.
pub(crate) unsafe fn bytes<'a>(first: *const c_char, length: usize) -> &'a [u8] {
    match length {
        0 => &[],
        // SAFETY: by the contract of this function.
        _ => unsafe { std::slice::from_raw_parts(first.cast(), length) },
    }
}

/// Takes tensors of the other side. Both sides are of one release, and make none that the other
/// refuses; one that is, is left out, and so there are fewer than were expected.
///
/// # Safety
/// `first` is to `count` live tensors, if there are some, which are given away.
pub(crate) unsafe fn taken(
    first: *const *mut DLManagedTensorVersioned,
    count: usize,
) -> Vec<ManagedTensor> {
    (0..count)
        // SAFETY: by the contract of this function.
        .filter_map(|index| unsafe { ManagedTensor::take(NonNull::new(*first.add(index))?).ok() })
        .collect()
}
