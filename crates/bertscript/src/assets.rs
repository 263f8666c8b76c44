//! The small files beside the weights: tokenizer, pipeline, prompts.

use crate::error::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Files in memory, by their path in the checkpoint: from a directory, or from
/// an archive that took them along. Clones share their contents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assets(BTreeMap<String, Arc<Vec<u8>>>);

impl Assets {
    /// The contents of a file.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(|contents| contents.as_slice())
    }

    /// Adds a file, or takes the place of one.
    pub fn insert(&mut self, name: impl Into<String>, contents: Vec<u8>) {
        self.0.insert(name.into(), Arc::new(contents));
    }

    /// The paths, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The files, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, contents)| (name.as_str(), contents.as_slice()))
    }

    /// The value in a JSON file, if the file is there.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a malformed file, by its name.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let Some(contents) = self.get(name) else { return Ok(None) };
        serde_json::from_slice(contents)
            .map(Some)
            .map_err(|error| Error::new(ErrorKind::Config, error.to_string()).at(name))
    }
}

impl FromIterator<(String, Vec<u8>)> for Assets {
    fn from_iter<I: IntoIterator<Item = (String, Vec<u8>)>>(files: I) -> Self {
        Self(files.into_iter().map(|(name, contents)| (name, Arc::new(contents))).collect())
    }
}
