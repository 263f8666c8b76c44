//! Running a module on tensors.

use crate::cancel::bertscript_cancel_token;
use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::guard::{guard, set};
use crate::module::bertscript_module;
use crate::pointers::{array, free, get, place, text};
use crate::status::{
    BERTSCRIPT_BUFFER_TOO_SMALL, BERTSCRIPT_CANCELLED, BERTSCRIPT_INVALID_ARGUMENT,
    bertscript_status,
};
use crate::tensor::bertscript_tensor;
use bertscript::{Cancel, CudaStream, Inputs, Module, Outputs, Tensor};
use bertscript_kernels::memory::copied;
use std::ffi::{c_char, c_void};

/// How a module runs.
///
/// Ownership: the caller frees them; a call that takes them copies them.
/// Thread safety: one thread at a time.
pub struct bertscript_run_options {
    cancel: Cancel,
    stream: Option<*mut c_void>,
}

/// Creates default options.
///
/// Ownership: the caller frees them.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub extern "C" fn bertscript_run_options_new() -> *mut bertscript_run_options {
    Box::into_raw(Box::new(bertscript_run_options { cancel: Cancel::default(), stream: None }))
}

/// Lets another thread cancel the run, which looks at the token before the model
/// starts; a model that runs is not interrupted.
///
/// @param token the token; NULL for none
///
/// Ownership: the options hold a clone of the token.
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_run_options_set_cancel_token(
    options: *mut bertscript_run_options,
    token: *const bertscript_cancel_token,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.cancel = token.as_ref().map_or(Cancel::default(), |token| token.0.clone());
            Ok(())
        })
    }
}

/// Puts the run on a CUDA stream of the caller's and does not wait for it: the outputs
/// are there when the stream is. Without one, a run on a CUDA device is done when the
/// call returns. Modules on the CPU have no use for it.
///
/// Inputs in host memory, and inputs on the device, which are checked on the host,
/// are waited for. A tensor that is freed may be overwritten by what is put on
/// the stream afterwards; other streams that still read it must be waited for before.
///
/// @param stream a `cudaStream_t` of the module's device; NULL for its default stream
///
/// Ownership: the stream stays the caller's, and must live while the options are
/// used.
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_run_options_set_stream(
    options: *mut bertscript_run_options,
    stream: *mut c_void,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.stream = Some(stream);
            Ok(())
        })
    }
}

/// Frees options. NULL is accepted.
///
/// Ownership: takes the options.
/// Thread safety: any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_run_options_free(options: *mut bertscript_run_options) {
    // SAFETY: options that this library boxed, given back once.
    unsafe { free(options) };
}

/// Runs a module as the options say.
///
/// # Safety
/// `options` is NULL or points to live options, whose stream lives.
unsafe fn run(
    module: &Module,
    options: *const bertscript_run_options,
    run: impl FnOnce(&Module) -> bertscript::Result<Outputs>,
) -> Result<Outputs, Failure> {
    // SAFETY: by the contract of this function.
    let options = unsafe { options.as_ref() };
    if options.is_some_and(|options| options.cancel.is_cancelled()) {
        return Err(Failure::new(BERTSCRIPT_CANCELLED, "the run was cancelled"));
    }
    if let Some(stream) = options.and_then(|options| options.stream) {
        // SAFETY: as above; no work is put on it once this has returned.
        let stream = unsafe { CudaStream::from_raw(stream) };
        return Ok(module.on_stream(stream, run)?);
    }
    let outputs = run(module)?;
    module.wait()?;
    Ok(outputs)
}

/// Runs the model on tensors under the names of its inputs.
///
/// @param names the names of the inputs, `count` of them
/// @param inputs the tensors, `count` of them
/// @param count how many inputs are given
/// @param options NULL for none
/// @param outputs gets the outputs, in the model's order
/// @param capacity the room there, in tensors
/// @param output_count gets how many there are, also if the room is too small
///        (`BERTSCRIPT_BUFFER_TOO_SMALL`, and none is returned)
///
/// Errors: `BERTSCRIPT_INVALID_ARGUMENT` with the input, what was found in it
/// and the bound; `BERTSCRIPT_CANCELLED`; the module stays usable.
/// Ownership: the caller frees each output; inputs stay the caller's.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_run(
    module: *const bertscript_module,
    names: *const *const c_char,
    inputs: *const *const bertscript_tensor,
    count: usize,
    options: *const bertscript_run_options,
    outputs: *mut *mut bertscript_tensor,
    capacity: usize,
    output_count: *mut usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (module, names, inputs) = unsafe {
            (get(module, "module")?, array(names, count, "names")?, array(inputs, count, "inputs")?)
        };
        let named = names.iter().zip(inputs).map(|(name, input)| {
            // SAFETY: as above.
            let (name, input) = unsafe { (text(*name, "names")?, get(*input, "inputs")?) };
            Ok((name.to_owned(), input.tensor().clone()))
        });
        let named = named.collect::<Result<_, Failure>>()?;
        // SAFETY: as above.
        let found = unsafe { run(module.module(), options, |module| module.run_named(named))? };
        // SAFETY: as above.
        unsafe { give(&found, outputs, capacity, output_count) }
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Runs the model on ids in host memory.
///
/// @param input_ids `batch` rows of `length` ids
/// @param attention_mask as many numbers, 1 for a token and 0 for padding; NULL
///        if nothing is padding
/// @param token_type_ids as many numbers, the segment of each token; NULL if all
///        are 0
/// @param batch how many rows
/// @param length how many ids each row has
/// @param options NULL for none
/// @param outputs gets the outputs, in the model's order
/// @param capacity the room there, in tensors
/// @param output_count gets how many there are, also if the room is too small
///        (`BERTSCRIPT_BUFFER_TOO_SMALL`, and none is returned)
///
/// Errors: as of `bertscript_module_run`.
/// Ownership: the caller frees each output; the caller may free the arrays after the call.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_run_ids(
    module: *const bertscript_module,
    input_ids: *const i64,
    attention_mask: *const i64,
    token_type_ids: *const i64,
    batch: usize,
    length: usize,
    options: *const bertscript_run_options,
    outputs: *mut *mut bertscript_tensor,
    capacity: usize,
    output_count: *mut usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let module = unsafe { get(module, "module")? };
        let size = batch.checked_mul(length).filter(|size| *size <= isize::MAX as usize / 8);
        let size = size.ok_or_else(|| {
            let message = format!("batch: {batch} rows of {length} are more than memory can hold");
            Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message)
        })?;
        let tensor = |values: *const i64, name: &str| -> Result<Tensor, Failure> {
            // SAFETY: as above.
            let values = unsafe { array(values, size, name)? };
            Ok(Tensor::new(copied(values)?, [batch, length])?)
        };
        let mut inputs = Inputs::new(tensor(input_ids, "input_ids")?);
        if !attention_mask.is_null() {
            inputs = inputs.attention_mask(tensor(attention_mask, "attention_mask")?);
        }
        if !token_type_ids.is_null() {
            inputs = inputs.token_type_ids(tensor(token_type_ids, "token_type_ids")?);
        }
        // SAFETY: as above.
        unsafe {
            let found = run(module.module(), options, |module| module.run(&inputs))?;
            give(&found, outputs, capacity, output_count)
        }
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Gives outputs to the caller, all or none.
///
/// # Safety
/// `outputs` is NULL or has room for `capacity` pointers, `count` is NULL or a
/// place that may be written.
unsafe fn give(
    found: &Outputs,
    outputs: *mut *mut bertscript_tensor,
    capacity: usize,
    count: *mut usize,
) -> Result<(), Failure> {
    let tensors = found.iter().map(|(_, tensor)| bertscript_tensor::new(tensor.clone()));
    let tensors: Vec<_> = tensors.collect();
    let fits = tensors.len() <= capacity;
    // SAFETY: by the contract of this function.
    let count = unsafe { place(count, "output_count")? };
    if fits {
        // SAFETY: as above.
        unsafe { place(outputs, "outputs")? };
    }
    *count = tensors.len();
    if !fits {
        let message = format!("capacity: found {capacity}, expected at least {}", tensors.len());
        return Err(Failure::new(BERTSCRIPT_BUFFER_TOO_SMALL, message));
    }
    for (index, tensor) in tensors.into_iter().enumerate() {
        // SAFETY: as above; the index is within the capacity.
        unsafe { outputs.add(index).write(tensor.into_raw()) };
    }
    Ok(())
}
