//! The module handle: a file that was exported, ready to run.

use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::pointers::{array, c_text, free, get, place, text};
use crate::status::{BERTSCRIPT_INVALID_ARGUMENT, bertscript_status};
use bertscript::{Device, Dtype, Module};
use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;

/// So often nobody warms anything up.
const MAX_WARM_UP_ITERATIONS: usize = 1000;

/// A file that was exported, on one device.
///
/// Ownership: the caller frees it; clones share the weights.
/// Thread safety: any number of threads may run it at once, and free their
/// clones while others run theirs.
pub struct bertscript_module(Arc<Loaded>);

struct Loaded {
    module: Module,
    metadata: CString,
    device: CString,
    inputs: Vec<CString>,
    outputs: Vec<CString>,
}

impl bertscript_module {
    pub(crate) fn new(module: Module) -> Result<*mut Self, Failure> {
        let names = |names: Vec<&str>| -> Vec<CString> { names.into_iter().map(c_text).collect() };
        let inputs = names(module.schema().arguments.iter().map(|a| a.name.as_str()).collect());
        let (metadata, outputs) = match module.metadata() {
            Some(metadata) => {
                let outputs = metadata.outputs.iter().map(|output| output.name.as_str());
                (metadata.to_json()?, names(outputs.collect()))
            }
            None => (b"null".to_vec(), Vec::new()),
        };
        let metadata = CString::new(metadata).unwrap_or_default();
        let device = c_text(&module.device().to_string());
        let loaded = Loaded { module, metadata, device, inputs, outputs };
        Ok(Box::into_raw(Box::new(Self(Arc::new(loaded)))))
    }
}

impl bertscript_module {
    pub(crate) fn module(&self) -> &Module {
        &self.0.module
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
/// On the CPU the weights lie in the file, which is mapped: its pages are shared
/// with every other module of it. It may be replaced or removed meanwhile, but must
/// not be truncated: the system would end the process on the next read. A file in
/// memory has no such bond.
///
/// @param path the file, UTF-8
/// @param device `cpu`, `cuda` or `cuda:N`; NULL for `cpu`
/// @param out the module
///
/// Errors: `BERTSCRIPT_NOT_FOUND`, `BERTSCRIPT_IO`, `BERTSCRIPT_CORRUPT`,
/// `BERTSCRIPT_VERSION_MISMATCH` or `BERTSCRIPT_UNSUPPORTED`, with the file;
/// `BERTSCRIPT_DEVICE_UNAVAILABLE`, with what is missing; `BERTSCRIPT_TORCH_UNAVAILABLE` for a
/// CUDA device, weights in float16, and archives that only libtorch executes.
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
        *out = bertscript_module::new(Module::load(path, device, None)?)?;
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Loads a file in memory, as `bertscript_module_load` does from disk.
///
/// @param data the contents of the file
/// @param size their size in bytes
/// @param device `cpu`, `cuda` or `cuda:N`; NULL for `cpu`
/// @param out the module
///
/// Errors: as of `bertscript_module_load`, but for the first two.
/// Ownership: the caller frees the module; the caller may free `data` after the call.
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
/// Ownership: borrowed, until the module is freed; NULL if `module` is NULL.
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
/// @param index its number, from 0
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

/// How many inputs the module takes, those counted that may be left out; 0 if
/// `module` is NULL.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_input_count(module: *const bertscript_module) -> usize {
    // SAFETY: NULL, or a live module by the contract of the function.
    unsafe { module.as_ref() }.map_or(0, |module| module.0.inputs.len())
}

/// How many outputs a run returns; 0 if `module` is NULL, and of a file made by another
/// program, which does not say.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_output_count(module: *const bertscript_module) -> usize {
    // SAFETY: NULL, or a live module by the contract of the function.
    unsafe { module.as_ref() }.map_or(0, |module| module.0.outputs.len())
}

/// Where the module runs: `cpu` or `cuda:N`; NULL if `module` is NULL.
///
/// Ownership: borrowed, until the module is freed.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_device(
    module: *const bertscript_module,
) -> *const c_char {
    // SAFETY: NULL, or a live module by the contract of the function.
    unsafe { module.as_ref() }.map_or(std::ptr::null(), |module| module.0.device.as_ptr())
}

/// The name of an output, in the order in which a run returns them; NULL if
/// there are not so many, or the file was made by another program.
///
/// @param index its number, from 0
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

/// The same module on another device or in another dtype. What is there already is
/// shared. An engine that was chosen, and the precision `int8`, are kept.
///
/// @param device `cpu`, `cuda` or `cuda:N`; NULL to stay
/// @param dtype `float32`, `float16` or `bfloat16`; NULL to stay
/// @param out the module
///
/// Errors: `BERTSCRIPT_DEVICE_UNAVAILABLE`, with what is missing;
/// `BERTSCRIPT_UNSUPPORTED` if the chosen engine, or `int8`, is not possible there;
/// `BERTSCRIPT_TORCH_UNAVAILABLE` for a CUDA device and float16.
/// Ownership: the caller frees the module.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_to(
    module: *const bertscript_module,
    device: *const c_char,
    dtype: *const c_char,
    out: *mut *mut bertscript_module,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (module, out) = unsafe { (get(module, "module")?, place(out, "out")?) };
        let device = match device.is_null() {
            true => None,
            // SAFETY: as above.
            false => Some(unsafe { text(device, "device")? }.parse::<Device>()?),
        };
        let dtype = match dtype.is_null() {
            true => None,
            // SAFETY: as above.
            false => Some(unsafe { text(dtype, "dtype")? }.parse::<Dtype>()?),
        };
        *out = bertscript_module::new(module.0.module.to(device, dtype)?)?;
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Writes the module to a TorchScript file, whole or not at all; its weights are
/// saved for the CPU, wherever they are. Engine and precision are no properties of an
/// archive.
///
/// @param path the file to write, UTF-8
///
/// Errors: `BERTSCRIPT_IO`; `BERTSCRIPT_INVALID_ARGUMENT` if `path` exists
/// and is not a regular file; `BERTSCRIPT_UNSUPPORTED` of a file that another
/// program made, and of weights that were cast after loading.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_save(
    module: *const bertscript_module,
    path: *const c_char,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (module, path) = unsafe { (get(module, "module")?, text(path, "path")?) };
        Ok(module.0.module.save(path)?)
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Runs the module on padding, so that what libtorch does at first calls is done
/// before the first real one. It depends on the thread: call it on those that
/// will run the module.
///
/// @param batch rows
/// @param length tokens in each; all rows together at most 131072
/// @param iterations how often; 2 suffice
///
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_warm_up(
    module: *const bertscript_module,
    batch: i64,
    length: i64,
    iterations: usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let module = unsafe { get(module, "module")? };
        if iterations > MAX_WARM_UP_ITERATIONS {
            let message =
                format!("iterations: found {iterations}, expected 0 to {MAX_WARM_UP_ITERATIONS}");
            return Err(Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message));
        }
        let size = |value: i64, name: &str| {
            usize::try_from(value).map_err(|_| {
                let message = format!("{name}: found {value}, expected at least 1");
                Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message)
            })
        };
        let (batch, length) = (size(batch, "batch")?, size(length, "length")?);
        Ok(module.0.module.warm_up(batch, length, iterations)?)
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Another handle to the same module; NULL if `module` is NULL.
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
