//! Separating tied weights, on the state dict, before any model exists.
//!
//! A masked language model's decoder shares its weight with the word embedding.
//! TorchScript wants every parameter to be one of its own; the transformers of
//! old had a `torchscript` flag for it, <https://github.com/huggingface/transformers/blob/v4.57.0/src/transformers/modeling_utils.py>
//! (`_tie_or_clone_weights`). Here it is a pass over named tensors. What counts
//! as tied follows transformers 5.23 (`tie_weights`): one of two present, or
//! both present and equal.

#![expect(clippy::disallowed_methods, reason = "looks at weights, records no trace")]

use crate::checkpoint::StateDict;
use crate::error::Result;
use serde::Serialize;
use tch::Tensor;

/// Two names that an architecture ties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tie {
    /// The name that files keep.
    pub source: &'static str,
    /// The name that files often leave out.
    pub target: &'static str,
}

/// What became of an architecture's ties.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Untied {
    /// Pairs that shared one value and now have separate storage.
    pub untied: Vec<[String; 2]>,
    /// Pairs that stand in the checkpoint with different values, and keep them.
    pub different: Vec<[String; 2]>,
}

/// Gives both names of every tie a tensor with a storage of its own. With
/// `tie_word_embeddings` false nothing is resolved: a name that is missing
/// stays missing.
pub fn untie(state: &mut StateDict, ties: &[Tie], tie_word_embeddings: bool) -> Result<Untied> {
    let mut report = Untied::default();
    if !tie_word_embeddings {
        return Ok(report);
    }
    for Tie { source, target } in ties {
        let pair = [(*source).to_owned(), (*target).to_owned()];
        match (state.get(source), state.get(target)) {
            (Some(a), Some(b)) => {
                let alike = |a: &Tensor, b: &Tensor| a.size() == b.size() && a.kind() == b.kind();
                if !(alike(&a.tensor, &b.tensor) && a.tensor.f_equal(&b.tensor)?) {
                    report.different.push(pair);
                    continue;
                }
                if a.tensor.data_ptr() == b.tensor.data_ptr() {
                    let copy = b.tensor.f_detach_copy()?;
                    state.replace(target, copy);
                }
            }
            (Some(present), None) => {
                let (copy, file) = (present.tensor.f_detach_copy()?, present.file.clone());
                state.insert((*target).to_owned(), copy, &file);
            }
            (None, Some(present)) => {
                let (copy, file) = (present.tensor.f_detach_copy()?, present.file.clone());
                state.insert((*source).to_owned(), copy, &file);
            }
            (None, None) => continue,
        }
        report.untied.push(pair);
    }
    Ok(report)
}
