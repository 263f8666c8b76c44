//! Embeddings of texts, and how similar they are.

use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::inputs::Given;
use crate::module::bertscript_module;
use crate::pointers::{get, place};
use crate::status::{BERTSCRIPT_BUFFER_TOO_SMALL, BERTSCRIPT_INVALID_ARGUMENT, bertscript_status};
use crate::task_options::bertscript_task_options;
use crate::tensor::bertscript_tensor;
use bertscript::EmbedOptions;
use std::ffi::c_char;

/// Embeds texts, as the file's sentence-transformers pipeline says.
///
/// @param texts the texts, UTF-8, `count` of them
/// @param lengths the length of each in bytes; NULL if they are NUL-terminated
/// @param count how many texts there are; 0 is accepted
/// @param options of `batch_tokens`, `long_texts`, `split_special_tokens`,
///        `max_length`, `pooling`, `normalize`, `prompt` or `prompt_name`,
///        `truncate_dim`; NULL for none
/// @param embeddings gets a float32 tensor `[count, dimension]` in host memory,
///        in the texts' order
/// @param truncated gets 1 for each text that was truncated, and 0 for the
///        others, `count` of them; may be NULL
///
/// Errors: `BERTSCRIPT_UNSUPPORTED` of a file that is no model without a head or has no
/// tokenizer, or no pipeline where `pooling` is not set; `BERTSCRIPT_INVALID_UTF8`
/// with the text's number; `BERTSCRIPT_CANCELLED`.
/// Ownership: the caller frees the tensor; the caller may free the texts after the call.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_embed(
    module: *const bertscript_module,
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    options: *const bertscript_task_options,
    embeddings: *mut *mut bertscript_tensor,
    truncated: *mut i32,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (module, embeddings) =
            unsafe { (get(module, "module")?, place(embeddings, "embeddings")?) };
        // SAFETY: as above.
        let texts = unsafe { Given { name: "texts", texts, lengths }.read(count)? };
        // SAFETY: as above.
        let options = embed_options(unsafe { options.as_ref() }, "embed", &[])?;
        let found = module.module().embed(texts, &options)?;
        *embeddings = bertscript_tensor::new(found.tensor().clone()).into_raw();
        // SAFETY: as above.
        unsafe { give_truncated(truncated, count, found.truncated()) };
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Embeds texts as `bertscript_module_embed` does, with the same results, to memory of the
/// caller's.
///
/// @param texts the texts, UTF-8, `count` of them
/// @param lengths the length of each in bytes; NULL if they are NUL-terminated
/// @param count how many texts there are; 0 is accepted
/// @param options as of `bertscript_module_embed`; NULL for none
/// @param embeddings gets `count` rows of as many floats as `bertscript_module_embedding_dim`
///        says, one after the other
/// @param capacity the room there, in floats
/// @param written gets the number of floats, also if the room is too small
///        (`BERTSCRIPT_BUFFER_TOO_SMALL`, and nothing is embedded); may be NULL
/// @param truncated gets 1 for each text that was truncated, and 0 for the
///        others, `count` of them; may be NULL
///
/// Errors: those of `bertscript_module_embed`.
/// Ownership: the memory stays the caller's; the caller may free the texts after the call.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_embed_into(
    module: *const bertscript_module,
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    options: *const bertscript_task_options,
    embeddings: *mut f32,
    capacity: usize,
    written: *mut usize,
    truncated: *mut i32,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let module = unsafe { get(module, "module")? }.module();
        // SAFETY: as above.
        let texts = unsafe { Given { name: "texts", texts, lengths }.read(count)? };
        // SAFETY: as above.
        let options = embed_options(unsafe { options.as_ref() }, "embed", &[])?;
        let needed = count.checked_mul(module.embedding_dim(&options)?);
        let needed = needed.filter(|needed| *needed <= isize::MAX as usize / size_of::<f32>());
        let needed = needed.ok_or_else(|| {
            let message = format!("count: found {count} texts, more than memory can hold");
            Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message)
        })?;
        // SAFETY: as above.
        let written = unsafe { written.as_mut() };
        if capacity < needed {
            if let Some(written) = written {
                *written = needed;
            }
            let message = format!("capacity: found {capacity}, expected at least {needed}");
            return Err(Failure::new(BERTSCRIPT_BUFFER_TOO_SMALL, message));
        }
        let mut none = [];
        let room = match needed {
            0 => &mut none[..],
            // SAFETY: as above; `needed` floats are within the capacity.
            _ => unsafe {
                std::slice::from_raw_parts_mut(place(embeddings, "embeddings")?, needed)
            },
        };
        let found = module.embed_into(texts, &options, room)?;
        if let Some(written) = written {
            *written = needed;
        }
        // SAFETY: as above.
        unsafe { give_truncated(truncated, count, &found) };
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// How many numbers an embedding has that `bertscript_module_embed` makes.
///
/// @param options as of `bertscript_module_embed`; NULL for none
/// @param dimension gets the number
///
/// Errors: those of `bertscript_module_embed`, but for the ones of texts.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_embedding_dim(
    module: *const bertscript_module,
    options: *const bertscript_task_options,
    dimension: *mut usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (module, dimension) =
            unsafe { (get(module, "module")?, place(dimension, "dimension")?) };
        // SAFETY: as above.
        let options = embed_options(unsafe { options.as_ref() }, "embed", &[])?;
        *dimension = module.module().embedding_dim(&options)?;
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Says of each text whether it was truncated, to whoever wants to know.
///
/// # Safety
/// `truncated` is NULL or has room for `count` numbers; `cut` are below `count`.
pub(crate) unsafe fn give_truncated(truncated: *mut i32, count: usize, cut: &[usize]) {
    if !truncated.is_null() {
        // SAFETY: by the contract of this function.
        unsafe {
            truncated.write_bytes(0, count);
            cut.iter().for_each(|text| truncated.add(*text).write(1));
        }
    }
}

/// The options to embed; `more` are those that a task has beside them.
pub(crate) fn embed_options(
    chosen: Option<&bertscript_task_options>,
    task: &str,
    more: &[&str],
) -> Result<EmbedOptions, Failure> {
    let Some(chosen) = chosen else { return Ok(EmbedOptions::default()) };
    let known = ["pooling", "normalize", "prompt", "prompt_name", "truncate_dim"];
    chosen.only(task, &[&known, more].concat())?;
    let usual = EmbedOptions::default();
    Ok(EmbedOptions {
        pooling: chosen.pooling.clone(),
        normalize: chosen.normalize.unwrap_or(usual.normalize),
        prompt: chosen.prompt.clone(),
        prompt_name: chosen.prompt_name.clone(),
        truncate_dim: chosen.truncate_dim,
        long_texts: chosen.long_texts.unwrap_or(usual.long_texts),
        split_special_tokens: chosen.split_special_tokens,
        max_length: chosen.max_length,
        batch_tokens: chosen.batch_tokens,
        cancel: chosen.cancel.clone(),
    })
}

/// How similar embeddings are, by the measure that the file's pipeline names,
/// otherwise by their cosine.
///
/// @param a a tensor `[N, D]`
/// @param b a tensor `[M, D]`, on the same device
/// @param out gets a tensor `[N, M]`
///
/// Errors: `BERTSCRIPT_INVALID_ARGUMENT` for tensors of another form, or of two widths.
/// Ownership: the caller frees the tensor.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_similarity(
    module: *const bertscript_module,
    a: *const bertscript_tensor,
    b: *const bertscript_tensor,
    out: *mut *mut bertscript_tensor,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (module, out) = unsafe { (get(module, "module")?, place(out, "out")?) };
        // SAFETY: as above.
        let (a, b) = unsafe { (get(a, "a")?, get(b, "b")?) };
        let similarity = module.module().similarity(a.tensor(), b.tensor())?;
        *out = bertscript_tensor::new(similarity).into_raw();
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}
