//! `modules.json`: the modules of a sentence-transformers model, in order.
//!
//! Source: `SentenceTransformer.save`, <https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/base/model.py>

use crate::error::{Error, ErrorKind, Result};
use serde::Deserialize;
use std::path::{Component, Path};

/// The name of the file.
pub(crate) const MODULES_FILE: &str = "modules.json";

/// No model comes near so many.
const MAX_MODULES: usize = 16;

/// One module: its folder and its class.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ModuleEntry {
    /// The folder, relative to the model's; empty for the model's own
    pub(crate) path: String,
    #[serde(rename = "type")]
    type_name: String,
}

impl ModuleEntry {
    /// The class without its package, which moved from release to release.
    pub(crate) fn class(&self) -> &str {
        self.type_name.rsplit('.').next().unwrap_or_default()
    }

    /// The path of one of its files, as assets name it.
    pub(crate) fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }
}

/// Reads the list, and refuses folders outside of the model's.
pub(crate) fn read_modules(text: &[u8]) -> Result<Vec<ModuleEntry>> {
    let invalid = |message: String| Error::new(ErrorKind::Config, message).at(MODULES_FILE);
    let modules: Vec<ModuleEntry> =
        serde_json::from_slice(text).map_err(|error| invalid(error.to_string()))?;
    if modules.len() > MAX_MODULES {
        let message = format!("found {} modules, expected at most {MAX_MODULES}", modules.len());
        return Err(invalid(message));
    }
    for module in &modules {
        let inside = |part| matches!(part, Component::Normal(_));
        if !Path::new(&module.path).components().all(inside) {
            let message = format!("the path {:?} leads out of the directory", module.path);
            return Err(invalid(message));
        }
    }
    Ok(modules)
}
