//! Answers to questions.

use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::inputs::Given;
use crate::module::bertscript_module;
use crate::pointers::{free, get, place};
use crate::results::Results;
use crate::status::{BERTSCRIPT_NULL_POINTER, bertscript_status};
use crate::task_options::bertscript_task_options;
use bertscript::{AnswerOptions, Answers};
use bertscript_kernels::memory::try_collect;
use std::ffi::c_char;

/// A part of a context that answers a question. Later versions may add members
/// at the end.
#[repr(C)]
pub struct bertscript_answer {
    /// Its text, empty for no answer; UTF-8.
    pub answer: *const c_char,
    /// Its score.
    pub score: f32,
    /// Where it begins in the context, in bytes.
    pub start: usize,
    /// Where it ends in the context, in bytes.
    pub end: usize,
    /// Where it begins in the context, in characters.
    pub char_start: usize,
    /// Where it ends in the context, in characters.
    pub char_end: usize,
}

/// The answers to each question, sorted by descending score.
///
/// Ownership: the caller frees it.
/// Thread safety: it never changes; any thread may read it.
pub struct bertscript_answers(Results<bertscript_answer>);

impl bertscript_answers {
    fn new(found: &[Answers]) -> Result<*mut Self, Failure> {
        let results = Results::new(found, |found: &Answers, owned| {
            let answers = found.answers.iter().map(|answer| {
                Ok(bertscript_answer {
                    answer: owned.keep(&answer.answer)?,
                    score: answer.score,
                    start: answer.start,
                    end: answer.end,
                    char_start: answer.char_start,
                    char_end: answer.char_end,
                })
            });
            Ok((try_collect(answers)?, found.truncated))
        })?;
        Ok(Box::into_raw(Box::new(Self(results))))
    }
}

/// Answers questions, each from its own context.
///
/// @param questions the questions, UTF-8, `count` of them
/// @param question_lengths the length of each in bytes; NULL if they are
///        NUL-terminated
/// @param contexts the contexts, UTF-8, `count` of them
/// @param context_lengths the length of each in bytes; NULL if they are
///        NUL-terminated
/// @param count how many questions there are; 0 is accepted
/// @param options of `batch_tokens`, `long_texts`, `split_special_tokens`,
///        `max_length`, `top_k`, `max_answer_len`, `max_seq_len`, `doc_stride`,
///        `handle_impossible_answer`, `align_to_words`; NULL for none
/// @param out gets the answers
///
/// Errors: `BERTSCRIPT_UNSUPPORTED` of a file that is no
/// `..ForQuestionAnswering` or has no tokenizer; `BERTSCRIPT_INVALID_ARGUMENT`
/// for a question that leaves no room for its context;
/// `BERTSCRIPT_INVALID_UTF8` with the text's number; `BERTSCRIPT_CANCELLED`.
/// Ownership: the caller frees the answers; the caller may free the texts after the call.
/// Thread safety: any number of threads at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_answer(
    module: *const bertscript_module,
    questions: *const *const c_char,
    question_lengths: *const usize,
    contexts: *const *const c_char,
    context_lengths: *const usize,
    count: usize,
    options: *const bertscript_task_options,
    out: *mut *mut bertscript_answers,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (module, out) = unsafe { (get(module, "module")?, place(out, "out")?) };
        if contexts.is_null() && count > 0 {
            return Err(Failure::new(BERTSCRIPT_NULL_POINTER, "contexts: found NULL"));
        }
        let given = Given { name: "questions", texts: questions, lengths: question_lengths };
        let contexts = Given { name: "contexts", texts: contexts, lengths: context_lengths };
        // SAFETY: as above.
        let texts = unsafe { given.read_pairs(contexts, count)? };
        // SAFETY: as above.
        let options =
            unsafe { options.as_ref() }.map_or(Ok(AnswerOptions::default()), answer_options)?;
        *out = bertscript_answers::new(&module.module().answer(texts, &options)?)?;
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

fn answer_options(chosen: &bertscript_task_options) -> Result<AnswerOptions, Failure> {
    let known = [
        "top_k",
        "max_answer_len",
        "max_seq_len",
        "doc_stride",
        "handle_impossible_answer",
        "align_to_words",
    ];
    chosen.only("answer", &known)?;
    let usual = AnswerOptions::default();
    Ok(AnswerOptions {
        top_k: chosen.top_k.unwrap_or(usual.top_k),
        max_answer_len: chosen.max_answer_len.unwrap_or(usual.max_answer_len),
        max_seq_len: chosen.max_seq_len,
        doc_stride: chosen.doc_stride,
        handle_impossible_answer: chosen
            .handle_impossible_answer
            .unwrap_or(usual.handle_impossible_answer),
        align_to_words: chosen.align_to_words.unwrap_or(usual.align_to_words),
        long_texts: chosen.long_texts.unwrap_or(usual.long_texts),
        split_special_tokens: chosen.split_special_tokens,
        max_length: chosen.max_length,
        batch_tokens: chosen.batch_tokens,
        cancel: chosen.cancel.clone(),
    })
}

/// How many questions there were; 0 if `answers` is NULL.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_answers_count(answers: *const bertscript_answers) -> usize {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { answers.as_ref() }.map_or(0, |found| found.0.count())
}

/// How many answers a question has; 0 if `answers` is NULL or there is no such question.
///
/// @param question its number, from 0
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_answers_size(
    answers: *const bertscript_answers,
    question: usize,
) -> usize {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { answers.as_ref() }.map_or(0, |found| found.0.items(question).len())
}

/// An answer of a question; NULL if `answers` is NULL or there is no such item.
///
/// @param question its number, from 0
/// @param index the number of the answer, from 0
///
/// Ownership: borrowed, with all it points to, until the answers are freed.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_answers_get(
    answers: *const bertscript_answers,
    question: usize,
    index: usize,
) -> *const bertscript_answer {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { answers.as_ref() }.map_or(std::ptr::null(), |found| found.0.item(question, index))
}

/// Whether a context was truncated: 0 or 1; 0 if `answers` is NULL.
///
/// @param question its number, from 0
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_answers_truncated(
    answers: *const bertscript_answers,
    question: usize,
) -> i32 {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { answers.as_ref() }.map_or(0, |found| found.0.truncated(question))
}

/// All of it as JSON: an array with an object for each question.
///
/// Ownership: borrowed, until the answers are freed; NULL if `answers` is NULL.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_answers_json(
    answers: *const bertscript_answers,
) -> *const c_char {
    // SAFETY: NULL, or a live handle by the contract of the function.
    unsafe { answers.as_ref() }.map_or(std::ptr::null(), |found| found.0.json())
}

/// Frees answers. NULL is accepted.
///
/// Ownership: takes the handle.
/// Thread safety: any thread, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_answers_free(answers: *mut bertscript_answers) {
    // SAFETY: a handle that this library boxed, given back once.
    unsafe { free(answers) };
}
