//! Recording a closure as a method.

use crate::error::{Error, Result, c_string, check};
use crate::ffi::{self, TsValue};
use crate::module::{CStrings, ScriptModule};
use crate::value::Value;
use std::error::Error as StdError;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tch::Tensor;
use torch_sys::C_tensor;

/// Whether this thread is recording a trace. It never is after
/// [`ScriptModule::trace`] has returned, whatever happened inside.
pub fn is_tracing() -> bool {
    // SAFETY: reads a thread-local pointer.
    unsafe { ffi::ts_is_tracing() != 0 }
}

impl ScriptModule {
    /// Runs `closure` on example inputs and records what it does to tensors as
    /// the method `method`, whose arguments bear the inputs' names.
    ///
    /// Tensors registered on the module are recorded as its parameters; any
    /// other tensor that the closure uses becomes a constant of the code. So
    /// does every number: a size read from an input is baked in.
    ///
    /// # Errors
    /// An error or panic of the closure comes back as [`ErrorKind::Callback`](crate::ErrorKind::Callback)
    /// or [`ErrorKind::Panic`](crate::ErrorKind::Panic) (of tch, as what libtorch threw); the thread and
    /// the module are left as before.
    pub fn trace<E>(
        &mut self,
        method: &str,
        inputs: &[(&str, &Tensor)],
        closure: impl FnOnce(&[Tensor]) -> Result<Value, E>,
    ) -> Result<()>
    where
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let method = c_string(method)?;
        let names = CStrings::new(inputs.iter().map(|(name, _)| *name))?;
        let tensors: Vec<_> = inputs.iter().map(|(_, tensor)| tensor.as_ptr()).collect();
        let mut call = Call { closure: Some(closure), failure: None };
        // SAFETY: the arrays and the call state outlive the call, and the
        // trampoline is instantiated for exactly the type behind `user`.
        let outcome = check(unsafe {
            ffi::ts_module_trace(
                self.as_mut_ptr(),
                method.as_ptr(),
                tensors.as_ptr(),
                names.as_ptr(),
                names.len(),
                trampoline_of(&call),
                (&raw mut call).cast(),
            )
        });
        outcome.map_err(|error| call.failure.unwrap_or(error))
    }
}

struct Call<F> {
    closure: Option<F>,
    failure: Option<Error>,
}

/// Names the trampoline for a closure type that cannot be written out.
fn trampoline_of<F, E>(_: &Call<F>) -> ffi::TracedFn
where
    F: FnOnce(&[Tensor]) -> Result<Value, E>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    trampoline::<F, E>
}

unsafe extern "C" fn trampoline<F, E>(
    user: *mut c_void,
    inputs: *mut *mut C_tensor,
    count: usize,
    out: *mut *mut TsValue,
) -> c_int
where
    F: FnOnce(&[Tensor]) -> Result<Value, E>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    // SAFETY: `user` is the `Call` of the `trace` that is running; the shim
    // gives away `count` tensors.
    let (call, inputs) = unsafe {
        let raw = std::slice::from_raw_parts(inputs, count);
        let inputs: Vec<_> = raw.iter().map(|&tensor| Tensor::from_ptr(tensor)).collect();
        (&mut *user.cast::<Call<F>>(), inputs)
    };
    let Some(closure) = call.closure.take() else { return 1 };
    // A panic must not cross C++ frames. What the closure captured is not seen
    // again, or was lent to it by a caller that gets the error.
    let result = catch_unwind(AssertUnwindSafe(|| closure(&inputs)))
        .map_err(|payload| {
            let error = Error::from_panic(&*payload);
            Error::new(error.kind(), format!("the traced closure panicked: {error}"))
        })
        .and_then(|result| result.map_err(|error| Error::callback(error.into())))
        .and_then(|value| value.to_raw());
    match result {
        Ok(value) => {
            // SAFETY: the shim passes a place for one pointer and takes ownership of it.
            unsafe { *out = value.into_ptr() };
            0
        }
        Err(error) => {
            call.failure = Some(error);
            1
        }
    }
}
