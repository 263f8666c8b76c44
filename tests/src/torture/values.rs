//! What a parameter gets: a value with which the call works, and values with
//! which it must not break. All are expressions of C; `c/handles.h` has the names.

use super::combined::{COMBINED, Values};
use super::{Function, Parameter};

/// What is changed of a call that works, and the status that it then has.
pub(super) struct Wrong {
    /// Statements of C.
    pub(super) change: String,
    /// `ANY` where the header leaves it open.
    pub(super) expected: &'static str,
}

/// A value with which the call works, or `None` for a parameter that this test
/// does not know: say here what it takes.
pub(super) fn usual(function: &str, parameter: &Parameter) -> Option<String> {
    if let Some(handle) = parameter.handle() {
        return Some(usual_handle(function, &parameter.name, handle));
    }
    let text = |text: &str| format!("\"{text}\"");
    let value = match (parameter.kind.as_str(), parameter.name.as_str()) {
        ("const char *", "path") => match function {
            "bertscript_module_load" => text("sentence.pt"),
            "bertscript_tokenizer_load" => "checkpoint".to_owned(),
            _ => text("written.pt"),
        },
        ("const char *", "directory") => "checkpoint".to_owned(),
        ("const char *", name) => text(WORDS.iter().find(|(known, _)| *known == name)?.1),
        ("const char *const *", "names") => "input_names".to_owned(),
        ("const char *const *", "modes") => "pooling_modes".to_owned(),
        ("const char *const *", "targets" | "labels") => "some_targets".to_owned(),
        ("const char *const *", "candidate_labels") => "some_targets".to_owned(),
        ("const char *const *", "pairs" | "contexts") => "two_contexts".to_owned(),
        ("const char *const *", "texts" | "questions") => "two_texts".to_owned(),
        ("const float *", _) => "some_floats".to_owned(),
        ("const size_t *", _) => "NULL".to_owned(),
        ("const int64_t *", "shape") => "two_by_three".to_owned(),
        ("const int64_t *", "strides") => "row_strides".to_owned(),
        ("const int64_t *", "attention_mask") => "ones".to_owned(),
        ("const int64_t *", "token_type_ids") => "zeros".to_owned(),
        ("const int64_t *", "input_ids" | "ids") => "some_ids".to_owned(),
        ("const void *" | "void *", "data") => match function {
            "bertscript_module_load_memory" => "archive".to_owned(),
            _ => "numbers".to_owned(),
        },
        ("void *", "user") => "numbers".to_owned(),
        // The default stream, and the only one that is there without a device.
        ("void *", "stream") => "NULL".to_owned(),
        ("const bertscript_tensor *const *", _) => "two_inputs".to_owned(),
        ("bertscript_log_callback", _) => "on_log".to_owned(),
        ("bertscript_release_callback", _) => "on_release".to_owned(),
        ("bertscript_log_level", _) => "BERTSCRIPT_LOG_WARNING".to_owned(),
        ("bertscript_dtype", _) => "BERTSCRIPT_INT64".to_owned(),
        ("bertscript_status", _) => "BERTSCRIPT_IO".to_owned(),
        ("size_t", "size") => "archive_size".to_owned(),
        ("size_t", "nbytes") => "48".to_owned(),
        // What fits a room of `c/torture.h`: tensors, floats or bytes.
        ("size_t", "capacity") => match function {
            "bertscript_module_run" | "bertscript_module_run_ids" => "32".to_owned(),
            "bertscript_module_embed_into" | "bertscript_embedding_ranges" => "64".to_owned(),
            _ => "256".to_owned(),
        },
        (
            "size_t",
            "batch" | "ndim" | "count" | "label_count" | "iterations" | "pad_to_multiple_of",
        ) => "2".to_owned(),
        // Rows one after the other.
        ("size_t", "row_stride") => "0".to_owned(),
        ("size_t", "length") => "4".to_owned(),
        ("size_t", "max_length" | "max_seq_len" | "batch_tokens") => "64".to_owned(),
        ("size_t" | "int32_t" | "int64_t" | "uint64_t", _) => "1".to_owned(),
        _ => return None,
    };
    Some(value)
}

const WORDS: [(&str, &str); 22] = [
    ("plan", "scripted"),
    ("engine", "torchscript"),
    ("precision", "f32"),
    ("kind", "cpu"),
    ("device", "cpu"),
    ("architecture", "BertModel"),
    ("dtype", "float32"),
    ("attention", "sdpa"),
    ("shape", "2x8"),
    ("token", "[MASK]"),
    ("truncation", "longest_first"),
    ("padding", "longest"),
    ("long_texts", "truncate"),
    ("prompt", "query: "),
    ("prompt_name", "query"),
    ("embedding_precision", "uint8"),
    ("function_to_apply", "softmax"),
    ("hypothesis_template", "about {}"),
    ("query", "the cat"),
    ("aggregation_strategy", "simple"),
    ("text", "the cat"),
    ("label", "is_next"),
];

fn usual_handle(function: &str, name: &str, handle: &str) -> String {
    match (function, name) {
        ("bertscript_module_classify", "module") => "classifier".to_owned(),
        ("bertscript_module_zero_shot", "module") => "inferrer".to_owned(),
        ("bertscript_module_next_sentence", "module") => "pair_scorer".to_owned(),
        ("bertscript_module_entities", "module") => "tagger".to_owned(),
        ("bertscript_module_embed_sparse", "module") => "sparse_embedder".to_owned(),
        ("bertscript_module_answer", "module") => "answerer".to_owned(),
        ("bertscript_module_fill_mask", "module") => "filler".to_owned(),
        ("bertscript_module_similarity", "a" | "b") => "float_tensor".to_owned(),
        _ => handle.replacen("bertscript_", "usual_", 1),
    }
}

/// Everything that goes wrong with a call, one change at a time.
pub(super) fn wrong(function: &Function) -> Vec<Wrong> {
    let mut all = Vec::new();
    for parameter in function.parameters.iter().filter(|parameter| !parameter.is_error()) {
        for (value, expected) in values(&function.name, parameter) {
            let expected = if function.can_fail() { expected } else { "ANY" };
            all.push(Wrong { change: format!("{} = {value}", parameter.name), expected });
        }
    }
    for (name, changes) in COMBINED {
        if *name == function.name {
            let wrong = |(change, expected): &(&str, &'static str)| Wrong {
                change: (*change).to_owned(),
                expected,
            };
            all.extend(changes.iter().map(wrong));
        }
    }
    all
}

fn values(function: &str, parameter: &Parameter) -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    if parameter.kind.ends_with('*') || parameter.kind.ends_with("_callback") {
        let null =
            if parameter.accepts_null() { "BERTSCRIPT_OK" } else { "BERTSCRIPT_NULL_POINTER" };
        found.push(("NULL", null));
    }
    let borrowed = function == "bertscript_tensor_borrow" && parameter.name == "nbytes";
    // What does no work is not cancelled.
    let getters = ["bertscript_module_embedding_dim", "bertscript_module_embedding_bytes"];
    let getter = getters.contains(&function) && parameter.name == "options";
    found.extend(of_kind(parameter).iter().map(|(value, expected)| match (borrowed, getter) {
        // Of more memory than it needs, it uses what it needs.
        (true, _) => (*value, "ANY"),
        (_, true) => (*value, "BERTSCRIPT_OK"),
        _ => (*value, *expected),
    }));
    found
}

fn of_kind(parameter: &Parameter) -> Values {
    match (parameter.kind.as_str(), parameter.name.as_str()) {
        ("const char *", _) => &[
            ("\"\\xff\\xfe\"", "BERTSCRIPT_INVALID_UTF8"),
            ("\"\"", "ANY"),
            ("\"no such thing\"", "ANY"),
            ("long_text", "ANY"),
        ],
        ("const char *const *", _) => &[
            ("bad_texts", "BERTSCRIPT_INVALID_UTF8"),
            ("null_texts", "BERTSCRIPT_NULL_POINTER"),
            ("empty_texts", "ANY"),
            ("two_contexts", "ANY"),
        ],
        ("const size_t *", _) => &[
            ("huge_lengths", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("no_lengths", "ANY"),
            ("lengths_of_two", "ANY"),
        ],
        ("const int64_t *", _) => {
            &[("zeros", "ANY"), ("minus_ones", "ANY"), ("least", "ANY"), ("most", "ANY")]
        }
        ("const bertscript_tensor *const *", _) => &[
            ("null_inputs", "BERTSCRIPT_NULL_POINTER"),
            ("empty_inputs", "ANY"),
            ("float_inputs", "ANY"),
        ],
        // Of memory that is there, a smaller lie would be the caller's.
        ("size_t", "count" | "label_count" | "ndim" | "nbytes" | "size" | "batch" | "length") => &[
            ("0", "ANY"),
            ("SIZE_MAX", "BERTSCRIPT_INVALID_ARGUMENT"),
            ("SIZE_MAX / 2 + 1", "BERTSCRIPT_INVALID_ARGUMENT"),
        ],
        ("size_t", _) => &[
            ("0", "ANY"),
            ("3", "ANY"),
            ("1 << 20", "ANY"),
            ("(size_t)1 << 32", "ANY"),
            ("SIZE_MAX / 2", "ANY"),
            ("SIZE_MAX", "ANY"),
        ],
        ("int32_t" | "bertscript_dtype" | "bertscript_log_level" | "bertscript_status", _) => &[
            ("0", "ANY"),
            ("2", "ANY"),
            ("-1", "ANY"),
            ("99", "ANY"),
            ("INT32_MIN", "ANY"),
            ("INT32_MAX", "ANY"),
        ],
        ("int64_t", _) => &[
            ("0", "ANY"),
            ("-1", "ANY"),
            ("INT64_MIN", "ANY"),
            ("INT64_MAX", "ANY"),
            ("1 << 20", "ANY"),
        ],
        ("uint64_t", _) => &[("0", "ANY"), ("UINT64_MAX", "ANY")],
        ("const bertscript_module *", _) => &[
            ("usual_module", "ANY"),
            ("classifier", "ANY"),
            ("tagger", "ANY"),
            ("filler", "ANY"),
            ("pair_scorer", "ANY"),
            ("answerer", "ANY"),
            ("inferrer", "ANY"),
        ],
        ("const bertscript_tensor *", _) => {
            &[("empty_tensor", "ANY"), ("float_tensor", "ANY"), ("row_tensor", "ANY")]
        }
        ("const bertscript_encoding *", _) => {
            &[("ragged_encoding", "ANY"), ("rowless_encoding", "ANY")]
        }
        ("const bertscript_run_options *", _) => {
            &[("cancelled_run_options", "BERTSCRIPT_CANCELLED")]
        }
        ("const bertscript_task_options *", _) => {
            &[("cancelled_task_options", "BERTSCRIPT_CANCELLED")]
        }
        ("const bertscript_cancel_token *", _) => &[("cancelled_token", "ANY")],
        ("struct DLManagedTensorVersioned *", _) => &[],
        _ => &[],
    }
}
