//! Tensors by name, and what names have been called over the years.

use crate::error::{Error, ErrorKind, Result};
use crate::family::FileNames;
use crate::family::model::ModelSpec;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Named tensors of a checkpoint, sorted by name.
#[derive(Debug, Default)]
pub struct StateDict {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) tensor: Tensor,
    /// The file it came from, for messages.
    pub(crate) file: String,
}

/// A name that the checkpoint spells differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renamed {
    /// The name in the file.
    pub from: String,
    /// The name transformers uses now.
    pub to: String,
}

/// What `torch.nn.DataParallel` puts before every name.
const PARALLEL_PREFIX: &str = "module.";
/// Buffers that older files carry and the model makes itself.
const OLD_BUFFERS: [&str; 2] = ["embeddings.position_ids", "embeddings.token_type_ids"];

impl StateDict {
    /// Adds a tensor that came from `file`.
    pub fn insert(&mut self, name: String, tensor: Tensor, file: &str) {
        self.entries.insert(name, Entry { tensor, file: file.to_owned() });
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Entry> {
        self.entries.remove(name)
    }

    pub(crate) fn replace(&mut self, name: &str, tensor: Tensor) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.tensor = tensor;
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The tensors.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), &entry.tensor))
    }

    /// Brings every name to what transformers calls it now: `LayerNorm.weight`
    /// and `.bias` for `gamma` and `beta`, what the family's files call otherwise, and the
    /// encoder with the family's prefix, such as
    /// `bert.`, or without it, as the model has it. The prefix `module.` of
    /// every name is taken off, old buffers are dropped, and a tensor that holds several
    /// parameters is split.
    pub(crate) fn rename(&mut self, model: &ModelSpec) -> Result<Vec<Renamed>> {
        let family = model.architecture.family();
        let base_prefix = format!("{}.", family.base_prefix);
        let with_prefix = !model.prefix().is_empty();
        let modules: Vec<_> =
            model.encoder.modules().into_iter().map(|module| format!("{module}.")).collect();
        // Decided once, by looking at all names, never by trying.
        let parallel = self.names().all(|name| name.starts_with(PARALLEL_PREFIX));
        let stem = |name: &str| {
            let stem = name.strip_prefix(PARALLEL_PREFIX).filter(|_| parallel);
            family.file_names.rename(stem.unwrap_or(name))
        };
        let has_prefix = self.names().any(|name| stem(name).starts_with(&base_prefix));
        let mut renamed = Vec::new();
        let mut entries = BTreeMap::new();
        for (from, entry) in std::mem::take(&mut self.entries) {
            let full = stem(&from);
            let base = full.strip_prefix(&base_prefix).unwrap_or(&full);
            if OLD_BUFFERS.contains(&base) {
                continue;
            }
            let name = match (has_prefix, with_prefix) {
                (true, false) => base.to_owned(),
                (false, true) if modules.iter().any(|module| base.starts_with(module)) => {
                    format!("{base_prefix}{base}")
                }
                _ => full.clone(),
            };
            let to = modern_layer_norm(&name);
            for (to, entry) in split(&from, to, entry, family.file_names)? {
                if to != from {
                    renamed.push(Renamed { from: from.clone(), to: to.clone() });
                }
                if let Some(other) = entries.insert(to.clone(), entry) {
                    return Err(Error::new(
                        ErrorKind::Checkpoint,
                        format!(
                            "{from}: the parameter {to} stands in {} twice, under two names",
                            other.file
                        ),
                    ));
                }
            }
        }
        self.entries = entries;
        Ok(renamed)
    }
}

/// A tensor as it is, or the parameters that it holds, one after the other.
fn split(
    from: &str,
    name: String,
    entry: Entry,
    file_names: &FileNames,
) -> Result<Vec<(String, Entry)>> {
    let Some(names) = file_names.split(&name) else { return Ok(vec![(name, entry)]) };
    let (found, count) = (entry.tensor.shape(), names.len());
    let rows = match found.first() {
        Some(rows) if rows.is_multiple_of(count) => rows / count,
        _ => {
            let message = format!(
                "expected {count} parameters one after the other, found shape {found:?} in {}",
                entry.file
            );
            return Err(Error::new(ErrorKind::ShapeMismatch, message).at(from));
        }
    };
    let parts = names.into_iter().enumerate().map(|(index, name)| {
        // Of its own memory: an archive has a storage for each parameter.
        let tensor = entry.tensor.rows(index * rows..(index + 1) * rows)?;
        Ok((name, Entry { tensor, file: entry.file.clone() }))
    });
    parts.collect()
}

/// TensorFlow's words for a LayerNorm's parameters, in files of 2018 and 2019.
fn modern_layer_norm(name: &str) -> String {
    for (old, new) in
        [("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")]
    {
        if let Some(stem) = name.strip_suffix(old) {
            return format!("{stem}{new}");
        }
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::family::Architecture;
    use std::collections::BTreeSet;

    fn model(architecture: &str) -> ModelSpec {
        let architecture: Architecture = architecture.parse().unwrap();
        let text =
            format!(r#"{{"model_type": "{}", "num_hidden_layers": 1}}"#, architecture.model_type());
        Config::from_json(text.as_bytes()).unwrap().model(architecture).unwrap()
    }

    fn state(names: &[&str]) -> StateDict {
        let mut state = StateDict::default();
        for name in names {
            state.insert((*name).to_owned(), Tensor::new([0_f32], []).unwrap(), "test");
        }
        state
    }

    #[test]
    #[cfg_attr(miri, ignore = "calls libtorch")]
    fn names_of_all_ages_become_todays() {
        let mut old = state(&[
            "bert.embeddings.LayerNorm.gamma",
            "bert.embeddings.position_ids",
            "bert.encoder.layer.0.output.LayerNorm.beta",
            "cls.predictions.transform.LayerNorm.beta",
        ]);
        let renamed = old.rename(&model("BertModel")).unwrap();
        assert_eq!(renamed.len(), 3);
        assert_eq!(
            old.names().collect::<Vec<_>>(),
            [
                "cls.predictions.transform.LayerNorm.bias",
                "embeddings.LayerNorm.weight",
                "encoder.layer.0.output.LayerNorm.bias",
            ]
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "calls libtorch")]
    fn a_prefix_is_added_to_the_encoder_only() {
        let mut bare = state(&[
            "embeddings.word_embeddings.weight",
            "cls.predictions.bias",
            "pooler.dense.bias",
        ]);
        bare.rename(&model("BertForPreTraining")).unwrap();
        assert_eq!(
            bare.names().collect::<Vec<_>>(),
            [
                "bert.embeddings.word_embeddings.weight",
                "bert.pooler.dense.bias",
                "cls.predictions.bias"
            ]
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "calls libtorch")]
    fn every_family_has_its_prefix() {
        for (family, prefix, name) in [
            ("Roberta", "roberta.", "encoder.layer.0.output.dense.bias"),
            ("Data2VecText", "data2vec_text.", "embeddings.LayerNorm.bias"),
            ("DistilBert", "distilbert.", "transformer.layer.0.ffn.lin1.bias"),
            ("Electra", "electra.", "embeddings_project.bias"),
        ] {
            let full = format!("{prefix}{name}");
            let old = format!("{prefix}embeddings.position_ids");
            let mut bare = state(&[name, "classifier.bias"]);
            bare.rename(&model(&format!("{family}ForTokenClassification"))).unwrap();
            assert_eq!(
                bare.names().collect::<BTreeSet<_>>(),
                BTreeSet::from([&full[..], "classifier.bias"])
            );
            let mut prefixed = state(&[&full, &old]);
            prefixed.rename(&model(&format!("{family}Model"))).unwrap();
            assert_eq!(prefixed.names().collect::<Vec<_>>(), [name]);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "calls libtorch")]
    fn data_parallel_names_lose_their_prefix() {
        let mut parallel = state(&["module.bert.pooler.dense.bias", "module.classifier.bias"]);
        parallel.rename(&model("BertForPreTraining")).unwrap();
        let names: Vec<_> = parallel.names().collect();
        assert_eq!(names, ["bert.pooler.dense.bias", "classifier.bias"]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "calls libtorch")]
    fn two_spellings_of_one_name_are_refused() {
        let error = state(&["embeddings.LayerNorm.gamma", "embeddings.LayerNorm.weight"])
            .rename(&model("BertModel"))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Checkpoint);
        assert!(error.to_string().contains("embeddings.LayerNorm.weight"), "{error}");
    }
}
