//! From a checkpoint to a file.

use crate::error::bertscript_error;
use crate::guard::guard;
use crate::pointers::text;
use crate::status::bertscript_status;
use bertscript::{Checkpoint, LoadOptions, PreTrained};
use std::ffi::c_char;
use std::path::Path;

/// Exports a Hugging Face checkpoint to one TorchScript file: reads it as it is,
/// separates tied weights, traces the model, proves the trace at other shapes,
/// and writes it with tokenizer, labels and recipe. The file appears whole or
/// not at all.
///
/// @param checkpoint the directory, UTF-8
/// @param path the file to write, UTF-8
/// @param architecture the model class, such as `BertForMaskedLM`; NULL for what
///        `config.json` names
/// @param err where the error goes; NULL to be told the status only
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_export(
    checkpoint: *const c_char,
    path: *const c_char,
    architecture: *const c_char,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (checkpoint, path) = unsafe { (text(checkpoint, "checkpoint")?, text(path, "path")?) };
        let mut options = LoadOptions::default();
        if !architecture.is_null() {
            // SAFETY: as above.
            options.architecture = Some(unsafe { text(architecture, "architecture")? }.parse()?);
        }
        let checkpoint = Checkpoint::open(Path::new(checkpoint))?;
        let model = PreTrained::from_checkpoint(&checkpoint, &options)?;
        bertscript::export(&model, &checkpoint, &[], Path::new(path))?;
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}
