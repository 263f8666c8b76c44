//! Asking the plug-in.

use super::request::{Reply, Request};
use crate::error::{Error, ErrorKind, Result};
use bertscript_plugin::{ManagedTensor, Plugin};
use bertscript_process::chosen_thread_count;
use serde::de::DeserializeOwned;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, TryLockError};

/// What the plug-in answered.
#[derive(Debug)]
pub(crate) struct Answered {
    value: serde_json::Value,
    tensors: Vec<ManagedTensor>,
}

/// Asks the plug-in, which is loaded if it is not.
///
/// # Errors
/// [`ErrorKind::TorchUnavailable`] without it, with what requires it; what it answers.
pub(crate) fn ask(what: &str, request: &Request, tensors: Vec<ManagedTensor>) -> Result<Answered> {
    let _entered = bertscript_process::enter()?;
    let plugin = Plugin::load(env!("CARGO_PKG_VERSION")).map_err(|error| {
        let message = format!("{what} requires libtorch: {error}");
        Error::new(ErrorKind::TorchUnavailable, message)
    })?;
    if !IS_PREPARED.load(Ordering::Acquire) {
        prepare(plugin)?;
        IS_PREPARED.store(true, Ordering::Release);
    }
    free_left(plugin);
    call(plugin, request, tensors)
}

/// Whether the plug-in knows what was set before it was loaded.
static IS_PREPARED: AtomicBool = AtomicBool::new(false);

/// Whether TF32 was forbidden before the plug-in was loaded, into which the host may have brought
/// a libtorch that allows it.
static FORBIDS_TF32: AtomicBool = AtomicBool::new(false);

/// Tells a plug-in what was set before it was loaded; what is set after it is told by whoever
/// sets it.
fn prepare(plugin: &Plugin) -> Result<()> {
    if FORBIDS_TF32.load(Ordering::Acquire) {
        call(plugin, &Request::AllowTf32 { allowed: false }, Vec::new())?;
    }
    // A count that nobody set is libtorch's, as in a build with libtorch.
    let mut told = None;
    while told != chosen_thread_count() {
        told = chosen_thread_count();
        if let Some(count) = told {
            call(plugin, &Request::SetThreads { count }, Vec::new())?;
        }
    }
    Ok(())
}

/// Forbids TF32, in a plug-in that is loaded later, too.
pub(crate) fn forbid_tf32() -> Result<()> {
    FORBIDS_TF32.store(true, Ordering::Release);
    tell(&Request::AllowTf32 { allowed: false })
}

/// What was to be freed where no call was possible, such as on a small stack. It is never waited
/// for: a child of `fork()` may have it locked by a thread that it does not have.
static LEFT: Mutex<Vec<Request>> = Mutex::new(Vec::new());

/// Has the plug-in free what it keeps; with a later call, if none is possible here.
pub(crate) fn free(request: Request) {
    if tell(&request).is_err() {
        leave(request);
    }
}

fn leave(request: Request) {
    match LEFT.try_lock() {
        Ok(mut left) => left.push(request),
        Err(TryLockError::Poisoned(left)) => left.into_inner().push(request),
        Err(TryLockError::WouldBlock) => {}
    }
}

fn free_left(plugin: &Plugin) {
    let Ok(left) = LEFT.try_lock().map(|mut left| std::mem::take(&mut *left)) else { return };
    for request in left {
        let freed = call(plugin, &request, Vec::new());
        if freed.is_err_and(|error| error.kind() == ErrorKind::ProcessState) {
            leave(request);
        }
    }
}

/// Asks the plug-in if it is loaded: what it does not know of yet, it need not be told.
pub(crate) fn tell(request: &Request) -> Result<()> {
    let _entered = bertscript_process::enter()?;
    Plugin::loaded().map_or(Ok(()), |plugin| call(plugin, request, Vec::new()).map(drop))
}

fn call(plugin: &Plugin, request: &Request, tensors: Vec<ManagedTensor>) -> Result<Answered> {
    let text = serde_json::to_string(request).map_err(unreadable)?;
    let (reply, tensors) = plugin.call(&text, tensors);
    let value = serde_json::from_str::<Reply>(&reply).map_err(unreadable)??;
    Ok(Answered { value, tensors })
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Torch, format!("the plug-in for libtorch is not understood: {error}"))
}

impl Answered {
    /// The value.
    pub(crate) fn value<T: DeserializeOwned>(self) -> Result<T> {
        serde_json::from_value(self.value).map_err(unreadable)
    }

    /// The only tensor.
    pub(crate) fn tensor(mut self) -> Result<ManagedTensor> {
        let found = self.tensors.len();
        self.tensors.pop().filter(|_| found == 1).ok_or_else(|| {
            let message = format!("the plug-in for libtorch gave {found} tensors, expected 1");
            Error::new(ErrorKind::Torch, message)
        })
    }

    /// The tensors.
    pub(crate) fn tensors(self) -> Vec<ManagedTensor> {
        self.tensors
    }

    /// The tensors, and the value, which is their names.
    pub(crate) fn named(self) -> Result<Vec<(String, ManagedTensor)>> {
        let names: Vec<String> = serde_json::from_value(self.value).map_err(unreadable)?;
        if names.len() != self.tensors.len() {
            let (found, expected) = (self.tensors.len(), names.len());
            let message =
                format!("the plug-in for libtorch gave {found} tensors, expected {expected}");
            return Err(Error::new(ErrorKind::Torch, message));
        }
        Ok(names.into_iter().zip(self.tensors).collect())
    }
}
