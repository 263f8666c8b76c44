//! Embeddings of texts, and how similar they are.

use crate::error::bertscript_error;
use crate::guard::{Failure, guard};
use crate::inputs::Given;
use crate::module::bertscript_module;
use crate::pointers::{get, place};
use crate::status::bertscript_status;
use crate::task_options::bertscript_task_options;
use crate::tensor::bertscript_tensor;
use bertscript::EmbedOptions;
use std::ffi::c_char;

/// Embeds texts, as the file's sentence-transformers recipe says.
///
/// @param texts the texts, UTF-8, `count` of them
/// @param lengths the length of each in bytes; NULL if they are NUL-terminated
/// @param count how many texts there are; 0 is accepted
/// @param options of `batch_tokens`, `long_texts`, `split_special_tokens`,
///        `max_length`, `pooling`, `normalize`, `prompt`, `prompt_name`,
///        `truncate_dim`; NULL for none
/// @param embeddings gets a float32 tensor `[count, dimension]` in host memory,
///        in the texts' order
/// @param truncated gets 1 for each text whose end was cut off, and 0 for the
///        others, `count` of them; may be NULL
///
/// Errors: `BERTSCRIPT_UNSUPPORTED` of a file that is no `BertModel` or has no
/// tokenizer, or no recipe where `pooling` is not set; `BERTSCRIPT_INVALID_UTF8`
/// with the text's number; `BERTSCRIPT_CANCELLED`.
/// Ownership: the caller frees the tensor; the texts may go at once.
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
        let options =
            unsafe { options.as_ref() }.map_or(Ok(EmbedOptions::default()), embed_options)?;
        let found = module.module().embed(texts, &options)?;
        *embeddings = bertscript_tensor::new(&found.values)?.into_raw();
        if !truncated.is_null() {
            // SAFETY: as above; texts are numbered below `count`.
            unsafe {
                truncated.write_bytes(0, count);
                found.truncated.iter().for_each(|text| truncated.add(*text).write(1));
            }
        }
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

fn embed_options(chosen: &bertscript_task_options) -> Result<EmbedOptions, Failure> {
    let known = ["pooling", "normalize", "prompt", "prompt_name", "truncate_dim"];
    chosen.only("embed", &known)?;
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

/// How similar embeddings are, by the measure that the file's recipe names,
/// otherwise by their cosine.
///
/// @param a a tensor `[N, D]`
/// @param b a tensor `[M, D]`
/// @param out gets a tensor `[N, M]`
///
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
        let similarity = module.module().similarity(&a.tensor(), &b.tensor())?;
        *out = bertscript_tensor::new(&similarity)?.into_raw();
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}
