//! Every function of the C ABI, one handle type a file.
//!
//! The rules: a fallible function returns a status and, if asked, an error that
//! the caller frees; outputs are written on success only; no panic and no C++
//! exception leaves a function; handles are freed by their own function, which
//! takes NULL; what a getter returns lives as long as its handle.

#![allow(non_camel_case_types, clippy::missing_safety_doc)]

// In the order of the header.
mod info;
mod status;

mod error;
mod failure;

mod log;
mod runtime;

mod tensor;

mod build_options;
mod model;
mod trace_options;

mod engine;
mod module;
mod run;

mod cancel;

mod tokenizer;

mod encode_options;
mod encoding;

mod task_options;

mod embed;
mod quantize;
mod sparse_embeddings;

mod classifications;
mod entities;
mod ranking;
mod zero_shot;

mod answers;
mod fillings;

// What they are made of.
mod guard;
mod inputs;
mod pointers;
mod results;

pub use answers::*;
pub use build_options::*;
pub use cancel::*;
pub use classifications::*;
pub use embed::*;
pub use encode_options::*;
pub use encoding::*;
pub use engine::*;
pub use entities::*;
pub use error::*;
pub use fillings::*;
pub use info::*;
pub use log::*;
pub use model::*;
pub use module::*;
pub use quantize::*;
pub use ranking::*;
pub use run::*;
pub use runtime::*;
pub use sparse_embeddings::*;
pub use status::*;
pub use task_options::*;
pub use tensor::*;
pub use tokenizer::*;
pub use trace_options::*;
pub use zero_shot::*;

/// What the header promises of threads: a handle that is no longer so does not
/// compile.
const _: fn() = || {
    fn any_thread<T: Send + Sync>() {}
    any_thread::<bertscript_answers>();
    any_thread::<bertscript_cancel_token>();
    any_thread::<bertscript_classifications>();
    any_thread::<bertscript_encoding>();
    any_thread::<bertscript_entities>();
    any_thread::<bertscript_error>();
    any_thread::<bertscript_fillings>();
    any_thread::<bertscript_model>();
    any_thread::<bertscript_module>();
    any_thread::<bertscript_ranking>();
    any_thread::<bertscript_sparse_embeddings>();
    any_thread::<bertscript_tensor>();
    any_thread::<bertscript_tokenizer>();
};
