//! The module handle: a file that was exported, ready to run.

use crate::cancel::bertscript_cancel_token;
use crate::error::bertscript_error;
use crate::guard::{Failure, guard};
use crate::pointers::{array, free, get, place, text};
use crate::status::{BERTSCRIPT_BUFFER_TOO_SMALL, BERTSCRIPT_INVALID_ARGUMENT, bertscript_status};
use crate::tensor::bertscript_tensor;
use bertscript::{Device, EmbedOptions, Inputs, Module, Outputs};
use std::ffi::{CString, c_char, c_void};
use std::path::Path;
use std::sync::Arc;
use tch::Tensor;

/// A file that was exported, on one device.
///
/// Ownership: the caller frees it; clones share the weights.
/// Thread safety: any number of threads may run it at once, and free their
/// clones while others run theirs.
pub struct bertscript_module(Arc<Loaded>);

struct Loaded {
    module: Module,
    metadata: CString,
    inputs: Vec<CString>,
    outputs: Vec<CString>,
}

impl bertscript_module {
    fn new(module: Module) -> Result<*mut Self, Failure> {
        let names = |names: Vec<&str>| -> Vec<CString> {
            names.into_iter().map(|name| CString::new(name).unwrap_or_default()).collect()
        };
        let inputs = names(module.schema().arguments.iter().map(|a| a.name.as_str()).collect());
        let (metadata, outputs) = match module.metadata() {
            Some(metadata) => {
                let outputs = metadata.outputs.iter().map(|output| output.name.as_str());
                (metadata.to_json()?, names(outputs.collect()))
            }
            None => (b"null".to_vec(), Vec::new()),
        };
        let metadata = CString::new(metadata).unwrap_or_default();
        let loaded = Loaded { module, metadata, inputs, outputs };
        Ok(Box::into_raw(Box::new(Self(Arc::new(loaded)))))
    }
}

/// # Safety
/// `device` is NULL or points to a NUL-terminated string.
unsafe fn device(device: *const c_char) -> Result<Device, Failure> {
    if device.is_null() {
        return Ok(Device::Cpu);
    }
    // SAFETY: by the contract of this function.
    Ok(unsafe { text(device, "device") }?.parse()?)
}

/// Loads a file that was exported, or any TorchScript file with a `forward`.
///
/// @param path the file, UTF-8
/// @param device `cpu`, `cuda` or `cuda:N`; NULL for `cpu`
/// @param out the module
/// @param err where the error goes; NULL to be told the status only
///
/// Ownership: the caller frees the module.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_load(
    path: *const c_char,
    device: *const c_char,
    out: *mut *mut bertscript_module,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (path, device, out) =
            unsafe { (text(path, "path")?, self::device(device)?, place(out, "out")?) };
        *out = bertscript_module::new(Module::load(Path::new(path), device, None)?)?;
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Loads a file in memory, as `bertscript_module_load` does from disk.
///
/// @param data the contents of the file
/// @param size their size in bytes
///
/// Ownership: the caller frees the module; `data` may go at once.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_load_memory(
    data: *const c_void,
    size: usize,
    device: *const c_char,
    out: *mut *mut bertscript_module,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (data, device, out) = unsafe {
            (array::<u8>(data.cast(), size, "data")?, self::device(device)?, place(out, "out")?)
        };
        *out = bertscript_module::new(Module::from_bytes(data, device, None)?)?;
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// The description of the file, as JSON: architecture, inputs, outputs with
/// their shapes, limits, labels; `null` of a file made by another program.
///
/// Ownership: borrowed, until the module is freed; NULL of NULL.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_metadata_json(
    module: *const bertscript_module,
) -> *const c_char {
    // SAFETY: NULL, or a live module by the contract of the function.
    unsafe { module.as_ref() }.map_or(std::ptr::null(), |module| module.0.metadata.as_ptr())
}

/// The name of an input; NULL if there are not so many.
///
/// Ownership: borrowed, until the module is freed.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_input_name(
    module: *const bertscript_module,
    index: usize,
) -> *const c_char {
    // SAFETY: NULL, or a live module by the contract of the function.
    let module = unsafe { module.as_ref() };
    let name = module.and_then(|module| module.0.inputs.get(index));
    name.map_or(std::ptr::null(), |name| name.as_ptr())
}

/// The name of an output, in the order in which a run returns them; NULL if
/// there are not so many, or the file was made by another program.
///
/// Ownership: borrowed, until the module is freed.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_output_name(
    module: *const bertscript_module,
    index: usize,
) -> *const c_char {
    // SAFETY: NULL, or a live module by the contract of the function.
    let module = unsafe { module.as_ref() };
    let name = module.and_then(|module| module.0.outputs.get(index));
    name.map_or(std::ptr::null(), |name| name.as_ptr())
}

/// Runs the model on tensors under the names of its inputs.
///
/// @param names the names of the inputs, `count` of them
/// @param inputs the tensors, `count` of them
/// @param count how many inputs are given
/// @param outputs gets the outputs, in the model's order
/// @param capacity the room there, in tensors
/// @param output_count gets how many there are, also if the room is too small
///        (`BERTSCRIPT_BUFFER_TOO_SMALL`, and none is returned)
/// @param err where the error goes; NULL to be told the status only
///
/// Ownership: the caller frees each output; inputs stay the caller's.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_run(
    module: *const bertscript_module,
    names: *const *const c_char,
    inputs: *const *const bertscript_tensor,
    count: usize,
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
            Ok((name.to_owned(), input.tensor()))
        });
        let found = module.0.module.run_named(named.collect::<Result<_, Failure>>()?)?;
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
/// @param outputs, capacity, output_count as of `bertscript_module_run`
///
/// Ownership: the caller frees each output; the arrays may go at once.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_run_ids(
    module: *const bertscript_module,
    input_ids: *const i64,
    attention_mask: *const i64,
    token_type_ids: *const i64,
    batch: usize,
    length: usize,
    outputs: *mut *mut bertscript_tensor,
    capacity: usize,
    output_count: *mut usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let module = unsafe { get(module, "module")? };
        let size = batch.checked_mul(length).filter(|size| *size <= i64::MAX as usize);
        let size = size.ok_or_else(|| {
            let message = format!("batch: {batch} rows of {length} are more than memory can hold");
            Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message)
        })?;
        let shape = [batch as i64, length as i64];
        let tensor = |values: *const i64, name: &str| -> Result<Tensor, Failure> {
            // SAFETY: as above.
            let values = unsafe { array(values, size, name)? };
            Ok(Tensor::f_from_slice(values)?.f_view(shape)?)
        };
        let mut inputs = Inputs::new(tensor(input_ids, "input_ids")?);
        if !attention_mask.is_null() {
            inputs = inputs.attention_mask(tensor(attention_mask, "attention_mask")?);
        }
        if !token_type_ids.is_null() {
            inputs = inputs.token_type_ids(tensor(token_type_ids, "token_type_ids")?);
        }
        // SAFETY: as above.
        unsafe { give(&module.0.module.run(&inputs)?, outputs, capacity, output_count) }
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
    let tensors = found.iter().map(|(_, tensor)| bertscript_tensor::new(tensor));
    let tensors: Vec<_> = tensors.collect::<Result<_, _>>()?;
    // SAFETY: by the contract of this function.
    *unsafe { place(count, "output_count")? } = tensors.len();
    if tensors.len() > capacity {
        let message = format!("capacity: found {capacity}, expected at least {}", tensors.len());
        return Err(Failure::new(BERTSCRIPT_BUFFER_TOO_SMALL, message));
    }
    // SAFETY: as above.
    unsafe { place(outputs, "outputs")? };
    for (index, tensor) in tensors.into_iter().enumerate() {
        // SAFETY: as above; the index is within the capacity.
        unsafe { outputs.add(index).write(tensor.into_raw()) };
    }
    Ok(())
}

/// Embeds texts, as the file's sentence-transformers recipe says.
///
/// @param texts the texts, UTF-8, `count` of them
/// @param lengths the length of each in bytes; NULL if they are NUL-terminated
/// @param count how many texts there are; 0 is accepted
/// @param cancel stops the task from another thread; NULL if nothing does
/// @param out gets a float32 tensor `[count, dimension]`, in the texts' order
/// @param err where the error goes; NULL to be told the status only
///
/// Ownership: the caller frees the tensor; the texts may go at once.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_embed(
    module: *const bertscript_module,
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    cancel: *const bertscript_cancel_token,
    out: *mut *mut bertscript_tensor,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (module, out) = unsafe { (get(module, "module")?, place(out, "out")?) };
        // SAFETY: as above.
        let texts = unsafe { self::texts(texts, lengths, count)? };
        let mut options = EmbedOptions::default();
        // SAFETY: as above.
        if let Some(cancel) = unsafe { cancel.as_ref() } {
            options.cancel = cancel.0.clone();
        }
        let embeddings = module.0.module.embed(texts, &options)?;
        *out = bertscript_tensor::new(&embeddings.values)?.into_raw();
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// # Safety
/// `texts` is NULL or has `count` pointers to texts, each of the length that
/// stands in `lengths`, or NUL-terminated if that is NULL.
unsafe fn texts<'a>(
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
) -> Result<Vec<&'a str>, Failure> {
    // SAFETY: by the contract of this function.
    let pointers = unsafe { array(texts, count, "texts")? };
    let each = pointers.iter().enumerate().map(|(index, pointer)| {
        let name = format!("texts[{index}]");
        if lengths.is_null() {
            // SAFETY: as above.
            return unsafe { text(*pointer, &name) };
        }
        // SAFETY: as above.
        let bytes = unsafe { array::<u8>(pointer.cast(), *lengths.add(index), &name)? };
        std::str::from_utf8(bytes).map_err(|error| {
            let message = format!("{name}: not UTF-8 at byte {}", error.valid_up_to());
            Failure::new(crate::status::BERTSCRIPT_INVALID_UTF8, message)
        })
    });
    each.collect()
}

/// Another handle to the same module; NULL of NULL.
///
/// Ownership: the caller frees it.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_clone(
    module: *const bertscript_module,
) -> *mut bertscript_module {
    // SAFETY: NULL, or a live module by the contract of the function.
    let module = unsafe { module.as_ref() };
    let clone =
        |module: &bertscript_module| Box::into_raw(Box::new(bertscript_module(module.0.clone())));
    module.map_or(std::ptr::null_mut(), clone)
}

/// Frees a module. NULL is accepted.
///
/// Ownership: takes the handle; clones stay, and runs that go on.
/// Thread safety: any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_free(module: *mut bertscript_module) {
    // SAFETY: a module that this library boxed, given back once.
    unsafe { free(module) };
}
