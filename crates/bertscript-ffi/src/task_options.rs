//! How text is treated: options of every task.

mod answers;
mod embedding;
mod labels;
mod precision;
mod zero_shot;

pub use answers::*;
pub use embedding::*;
pub use labels::*;
pub use precision::*;
pub use zero_shot::*;

use crate::cancel::bertscript_cancel_token;
use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::guard::set;
use crate::pointers::{flag, free, positive, text};
use crate::status::{BERTSCRIPT_INVALID_ARGUMENT, bertscript_status};
use bertscript::{
    AggregationStrategy, Cancel, EmbeddingPrecision, EmbeddingRanges, FunctionToApply, LongTexts,
    PoolingMode,
};
use std::ffi::c_char;

/// How a task treats its texts. What is not set is as in transformers and
/// sentence-transformers; setting what a task does not have is an error of the
/// task.
///
/// Ownership: the caller frees them; a call that takes them copies them.
/// Thread safety: one thread at a time.
#[derive(Default)]
pub struct bertscript_task_options {
    pub(crate) cancel: Cancel,
    pub(crate) batch_tokens: Option<usize>,
    pub(crate) long_texts: Option<LongTexts>,
    pub(crate) split_special_tokens: Option<bool>,
    pub(crate) max_length: Option<usize>,
    pub(crate) top_k: Option<usize>,
    pub(crate) pooling: Option<Vec<PoolingMode>>,
    pub(crate) normalize: Option<bool>,
    pub(crate) prompt: Option<String>,
    pub(crate) prompt_name: Option<String>,
    pub(crate) truncate_dim: Option<usize>,
    pub(crate) max_active_dims: Option<usize>,
    pub(crate) embedding_precision: Option<EmbeddingPrecision>,
    pub(crate) ranges: Option<EmbeddingRanges>,
    pub(crate) function_to_apply: Option<FunctionToApply>,
    pub(crate) hypothesis_template: Option<String>,
    pub(crate) multi_label: Option<bool>,
    pub(crate) aggregation_strategy: Option<AggregationStrategy>,
    pub(crate) ignore_labels: Option<Vec<String>>,
    pub(crate) stride: Option<usize>,
    pub(crate) max_answer_len: Option<usize>,
    pub(crate) max_seq_len: Option<usize>,
    pub(crate) doc_stride: Option<usize>,
    pub(crate) handle_impossible_answer: Option<bool>,
    pub(crate) align_to_words: Option<bool>,
    pub(crate) targets: Option<Vec<String>>,
}

impl bertscript_task_options {
    /// Refuses what was set but is not among the options of a task.
    pub(crate) fn only(&self, task: &str, known: &[&str]) -> Result<(), Failure> {
        let every_task = ["batch_tokens", "long_texts", "split_special_tokens", "max_length"];
        let is_set = [
            ("top_k", self.top_k.is_some()),
            ("pooling", self.pooling.is_some()),
            ("normalize", self.normalize.is_some()),
            ("prompt", self.prompt.is_some()),
            ("prompt_name", self.prompt_name.is_some()),
            ("truncate_dim", self.truncate_dim.is_some()),
            ("max_active_dims", self.max_active_dims.is_some()),
            ("embedding_precision", self.embedding_precision.is_some()),
            ("ranges", self.ranges.is_some()),
            ("function_to_apply", self.function_to_apply.is_some()),
            ("hypothesis_template", self.hypothesis_template.is_some()),
            ("multi_label", self.multi_label.is_some()),
            ("aggregation_strategy", self.aggregation_strategy.is_some()),
            ("ignore_labels", self.ignore_labels.is_some()),
            ("stride", self.stride.is_some()),
            ("max_answer_len", self.max_answer_len.is_some()),
            ("max_seq_len", self.max_seq_len.is_some()),
            ("doc_stride", self.doc_stride.is_some()),
            ("handle_impossible_answer", self.handle_impossible_answer.is_some()),
            ("align_to_words", self.align_to_words.is_some()),
            ("targets", self.targets.is_some()),
        ];
        match is_set.iter().find(|(name, is_set)| *is_set && !known.contains(name)) {
            None => Ok(()),
            Some((name, _)) => {
                let known: Vec<_> = every_task.iter().chain(known).copied().collect();
                let message =
                    format!("options: {task} has no {name}, expected {}", known.join(", "));
                Err(Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message))
            }
        }
    }
}

/// Creates default options.
///
/// Ownership: the caller frees them.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub extern "C" fn bertscript_task_options_new() -> *mut bertscript_task_options {
    Box::into_raw(Box::default())
}

/// Lets another thread cancel the task, which looks at the token before each
/// batch.
///
/// @param token the token; NULL for none
///
/// Ownership: the options hold a clone of the token.
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_cancel_token(
    options: *mut bertscript_task_options,
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

/// Sets the budget of a batch, for every task: more is faster on large machines
/// and takes more memory.
///
/// @param batch_tokens tokens, with padding, at least 1; unless set, 4096 on the CPU and for
///        sparse embeddings, and 32768 on a CUDA device
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_batch_tokens(
    options: *mut bertscript_task_options,
    batch_tokens: usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.batch_tokens = Some(positive(batch_tokens, "batch_tokens")?);
            Ok(())
        })
    }
}

/// Chooses what becomes of texts that are longer than the model takes, for every
/// task.
///
/// @param long_texts `truncate`, which cuts the end off and says so, `refuse`, which
///        is an error, or `window`, which brings the results of windows together;
///        `truncate` unless set, and `window` to answer questions
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_long_texts(
    options: *mut bertscript_task_options,
    long_texts: *const c_char,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.long_texts = Some(text(long_texts, "long_texts")?.parse()?);
            Ok(())
        })
    }
}

/// Chooses whether special tokens in texts are read as plain text, as untrusted
/// text should be, for every task but to fill masks, where the mask is a special
/// token.
///
/// @param split_special_tokens 0 or 1; as the file's `tokenizer_config.json` says
///        unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_split_special_tokens(
    options: *mut bertscript_task_options,
    split_special_tokens: i32,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            let split = flag(split_special_tokens, "split_special_tokens")?;
            options.split_special_tokens = Some(split);
            Ok(())
        })
    }
}

/// Sets the max length of a text, for every task; of a window, to answer questions
/// and where `long_texts` is `window`.
///
/// @param max_length tokens, special tokens included, 1 to the model's limit, which
///        it is unless set
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_max_length(
    options: *mut bertscript_task_options,
    max_length: usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            if max_length == 0 {
                let message = "max_length: found 0, expected at least 1";
                return Err(Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message));
            }
            options.max_length = Some(max_length);
            Ok(())
        })
    }
}

/// Sets how many results are returned, by descending score: to classify, to rank, to answer
/// and to fill masks.
///
/// @param top_k at least 1; unless set all labels or texts, 1 answer, 5 fillings
///
/// Thread safety: one thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_set_top_k(
    options: *mut bertscript_task_options,
    top_k: usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    // SAFETY: by the contract of the function.
    unsafe {
        set(options, err, |options| {
            options.top_k = Some(positive(top_k, "top_k")?);
            Ok(())
        })
    }
}

/// Frees options. NULL is accepted.
///
/// Ownership: takes the options.
/// Thread safety: any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_task_options_free(options: *mut bertscript_task_options) {
    // SAFETY: options that this library boxed, given back once.
    unsafe { free(options) };
}
