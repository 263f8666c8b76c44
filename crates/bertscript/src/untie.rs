//! Tied weights: separated, or kept together, on the state dict, before any
//! model exists.
//!
//! A masked language model's decoder shares its weight with the word embedding.
//! TorchScript once wanted every parameter to be one of its own, and
//! transformers had a `torchscript` flag for it,
//! <https://github.com/huggingface/transformers/blob/v4.57.0/src/transformers/modeling_utils.py>
//! (`_tie_or_clone_weights`). Here it is a pass over named tensors. What counts
//! as tied follows transformers 5.23 (`tie_weights`): one of two present, or
//! both present and equal.

use crate::checkpoint::StateDict;
use crate::error::Result;
use crate::family::model::Tie;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What becomes of tied weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TieWeights {
    /// Each name gets a storage of its own.
    #[default]
    Untie,
    /// Both names share one storage, which is saved once.
    Keep,
}

/// What became of an architecture's ties, as pairs of source and target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TieReport {
    /// Pairs that share one storage.
    pub tied: Vec<[String; 2]>,
    /// Pairs that had one value and now have a storage each.
    pub untied: Vec<[String; 2]>,
    /// Pairs that stand in the checkpoint with different values, and keep them.
    pub different: Vec<[String; 2]>,
}

impl TieReport {
    pub(crate) fn add(&mut self, pair: &Tie, ties: TieWeights) {
        let pair = [pair.source.clone(), pair.target.clone()];
        match ties {
            TieWeights::Untie => self.untied.push(pair),
            TieWeights::Keep => self.tied.push(pair),
        }
    }
}

/// Resolves the ties of a state dict: a name that is missing gets the other's
/// values, and both get one storage or two. Names with different values keep
/// them; a pair of which nothing is there is left alone. Afterwards no two
/// tensors share a storage but those that are tied.
pub fn tie(state: &mut StateDict, pairs: &[Tie], ties: TieWeights) -> Result<TieReport> {
    let mut report = TieReport::default();
    for pair in pairs {
        let (from, to) = match (state.get(&pair.source), state.get(&pair.target)) {
            (Some(source), Some(target)) => {
                if !source.tensor.equals(&target.tensor)? {
                    report.different.push([pair.source.clone(), pair.target.clone()]);
                    continue;
                }
                if ties == TieWeights::Untie {
                    // Both are there; `separate` sees to it that they stay two.
                    report.add(pair, ties);
                    continue;
                }
                (&pair.source, &pair.target)
            }
            (Some(_), None) => (&pair.source, &pair.target),
            (None, Some(_)) => (&pair.target, &pair.source),
            (None, None) => continue,
        };
        if let Some(entry) = state.get(from) {
            let file = entry.file.clone();
            let tensor = match ties {
                TieWeights::Untie => entry.tensor.deep_copy()?,
                TieWeights::Keep => entry.tensor.clone(),
            };
            state.insert(to.clone(), tensor, &file);
        }
        report.add(pair, ties);
    }
    separate(state, &report)?;
    Ok(report)
}

/// Gives a storage of its own to every tensor that shares one without being
/// tied: two names on one storage of a `pytorch_model.bin`, say, whose
/// configuration does not tie them.
fn separate(state: &mut StateDict, report: &TieReport) -> Result<()> {
    let mut owners = BTreeMap::new();
    let mut shared = Vec::new();
    for (name, tensor) in state.tensors() {
        let place = tensor.address();
        let Some(owner) = place.and_then(|place| owners.insert(place, name)) else { continue };
        let is_pair = |pair: &[String; 2]| pair.iter().all(|one| one == owner || one == name);
        if !report.tied.iter().any(is_pair) {
            shared.push((name.to_owned(), tensor.deep_copy()?));
        }
    }
    for (name, tensor) in shared {
        state.replace(&name, tensor);
    }
    Ok(())
}
