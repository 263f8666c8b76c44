//! The model handle: a checkpoint's weights in memory, to be traced.

use crate::build_options::bertscript_build_options;
use crate::error::bertscript_error;
use crate::guard::guard;
use crate::log;
use crate::module::bertscript_module;
use crate::pointers::{c_text, free, get, place, text};
use crate::status::bertscript_status;
use crate::trace_options::bertscript_trace_options;
use bertscript::{Checkpoint, LoadOptions, PreTrained, Shapes};
use std::ffi::{CString, c_char};
use std::sync::Arc;

/// A model with its weights, read from a checkpoint.
///
/// Ownership: the caller frees it; clones share the weights.
/// Thread safety: any thread; calls wait for each other.
pub struct bertscript_model(Arc<Eager>);

struct Eager {
    model: PreTrained,
    config: CString,
    report: CString,
    parameters: i64,
}

/// Reads a Hugging Face checkpoint as it is: brings old parameter names up to
/// date, gives tied weights separate storage, and builds the model.
///
/// @param directory with `config.json` and the weights, UTF-8
/// @param options NULL for what the checkpoint says
/// @param out the model
///
/// Errors: `BERTSCRIPT_NOT_FOUND`, `BERTSCRIPT_IO`, `BERTSCRIPT_CORRUPT`,
/// `BERTSCRIPT_MISSING_WEIGHT`, `BERTSCRIPT_SHAPE_MISMATCH`,
/// `BERTSCRIPT_UNSUPPORTED`, with the file and the parameter;
/// `BERTSCRIPT_TORCH_UNAVAILABLE`: models are built by libtorch.
/// Ownership: the caller frees the model.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_model_from_pretrained(
    directory: *const c_char,
    options: *const bertscript_build_options,
    out: *mut *mut bertscript_model,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (directory, options, out) =
            unsafe { (text(directory, "directory")?, options.as_ref(), place(out, "out")?) };
        let options = options.map_or(LoadOptions::default(), |options| options.0);
        let checkpoint = Checkpoint::open(directory)?;
        let model = PreTrained::from_checkpoint(&checkpoint, &options)?;
        let config = c_text(&String::from_utf8_lossy(checkpoint.config_json()));
        let report = c_text(&serde_json::to_string(model.report()).unwrap_or_default());
        let parameters = model.parameter_count() as i64;
        let eager = Eager { model, config, report, parameters };
        *out = Box::into_raw(Box::new(bertscript_model(Arc::new(eager))));
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// The checkpoint's `config.json`.
///
/// Ownership: borrowed, until the model is freed; NULL if `model` is NULL.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_model_config_json(
    model: *const bertscript_model,
) -> *const c_char {
    // SAFETY: NULL, or a live model by the contract of the function.
    unsafe { model.as_ref() }.map_or(std::ptr::null(), |model| model.0.config.as_ptr())
}

/// What loading found and did, as JSON: `renamed`, `unexpected` and
/// `initialized` parameters, and those that were `untied`, are `tied`, or were
/// `different` where a tie was expected.
///
/// Ownership: borrowed, until the model is freed; NULL if `model` is NULL.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_model_report_json(
    model: *const bertscript_model,
) -> *const c_char {
    // SAFETY: NULL, or a live model by the contract of the function.
    unsafe { model.as_ref() }.map_or(std::ptr::null(), |model| model.0.report.as_ptr())
}

/// The number of values in all parameters, shared ones counted once; 0 if `model` is NULL.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_model_parameter_count(model: *const bertscript_model) -> i64 {
    // SAFETY: NULL, or a live model by the contract of the function.
    unsafe { model.as_ref() }.map_or(0, |model| model.0.parameters)
}

/// Traces the model to a module that runs on the CPU, and verifies it on shapes
/// that it was not traced with. `bertscript_module_save` writes it.
///
/// @param options NULL to trace for every batch size and length
/// @param out the module
///
/// Errors: `BERTSCRIPT_VERIFICATION`; `BERTSCRIPT_BUSY` inside a callback.
/// Ownership: the caller frees the module; its weights are its own.
/// Thread safety: any thread; calls with clones of a model wait for each other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_model_trace(
    model: *const bertscript_model,
    options: *const bertscript_trace_options,
    out: *mut *mut bertscript_module,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (model, shapes, out) =
            unsafe { (get(model, "model")?, shapes(options), place(out, "out")?) };
        log::refuse_in_callback()?;
        *out = bertscript_module::new(model.0.model.to_module(&shapes)?)?;
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Traces the model and writes it to one TorchScript file, with tokenizer,
/// labels and pipeline. Writing overlaps verification; the file
/// appears whole or not at all.
///
/// @param options NULL to trace for every batch size and length
/// @param path the file to write, UTF-8
///
/// Errors: `BERTSCRIPT_VERIFICATION`, `BERTSCRIPT_IO`;
/// `BERTSCRIPT_INVALID_ARGUMENT` if `path` is a file of the checkpoint, or exists and
/// is not a regular file; `BERTSCRIPT_BUSY` inside a callback.
/// Thread safety: any thread; calls with clones of a model wait for each other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_model_export(
    model: *const bertscript_model,
    options: *const bertscript_trace_options,
    path: *const c_char,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (model, shapes, path) =
            unsafe { (get(model, "model")?, shapes(options), text(path, "path")?) };
        log::refuse_in_callback()?;
        model.0.model.export(&shapes, path)?;
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// # Safety
/// `options` is NULL or points to live options.
unsafe fn shapes(options: *const bertscript_trace_options) -> Shapes {
    // SAFETY: by the contract of this function.
    let options = unsafe { options.as_ref() };
    options.map_or(Shapes::Any, |options| options.0.clone().into())
}

/// Another handle to the same model; NULL if `model` is NULL.
///
/// Ownership: the caller frees it.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_model_clone(
    model: *const bertscript_model,
) -> *mut bertscript_model {
    // SAFETY: NULL, or a live model by the contract of the function.
    let model = unsafe { model.as_ref() };
    let clone =
        |model: &bertscript_model| Box::into_raw(Box::new(bertscript_model(model.0.clone())));
    model.map_or(std::ptr::null_mut(), clone)
}

/// Frees a model. NULL is accepted.
///
/// Ownership: takes the handle; clones stay, and modules that were traced.
/// Thread safety: any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_model_free(model: *mut bertscript_model) {
    // SAFETY: a model that this library boxed, given back once.
    unsafe { free(model) };
}
