//! Weights in several files, with an index that says which tensor is where.

use crate::error::{Error, ErrorKind, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// `model.safetensors.index.json` or `pytorch_model.bin.index.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct Index {
    /// The file of each tensor.
    weight_map: BTreeMap<String, String>,
}

impl Index {
    /// Reads the text of an index.
    pub(crate) fn from_json(text: &[u8]) -> Result<Self> {
        let index: Self = serde_json::from_slice(text)
            .map_err(|error| Error::new(ErrorKind::Checkpoint, error.to_string()))?;
        for (tensor, file) in &index.weight_map {
            // A name, not a path: an index must not reach outside its directory.
            let mut parts = Path::new(file).components();
            if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
                let message =
                    format!("{tensor}: found {file:?}, expected the name of a file beside it");
                return Err(Error::new(ErrorKind::Checkpoint, message));
            }
        }
        if index.weight_map.is_empty() {
            return Err(Error::new(ErrorKind::Checkpoint, "weight_map names no tensor"));
        }
        Ok(index)
    }

    /// The files, each once.
    pub(crate) fn files(&self, directory: &Path) -> Vec<PathBuf> {
        let files: BTreeSet<_> = self.weight_map.values().collect();
        files.into_iter().map(|file| directory.join(file)).collect()
    }

    /// The tensors that a file should hold.
    pub(crate) fn tensors_of(&self, file: &str) -> impl Iterator<Item = &str> {
        self.weight_map.iter().filter(move |(_, of)| *of == file).map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_cannot_leave_its_directory() {
        for file in ["../x", "/etc/passwd", "a/b", "..", ".", "", "a/../b"] {
            let text = format!(r#"{{"weight_map": {{"t": {file:?}}}}}"#);
            let error = Index::from_json(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("expected the name of a file"), "{file}: {error}");
        }
        assert!(Index::from_json(br#"{"weight_map": {"t": "model-1.safetensors"}}"#).is_ok());
    }
}
