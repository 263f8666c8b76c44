//! A Hugging Face checkpoint directory, read as it is.

mod safetensors;
mod state_dict;

pub use safetensors::{read as read_safetensors, write as write_safetensors};
pub use state_dict::{Renamed, StateDict};

use crate::config::BertConfig;
use crate::error::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// The tokenizer files that go into an archive when they stand in the directory.
pub const TOKENIZER_FILES: [&str; 5] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "special_tokens_map.json",
    "added_tokens.json",
];

/// No configuration or tokenizer file comes near this size.
const LARGEST_SIDE_FILE: u64 = 256 << 20;

/// An opened checkpoint: its configuration and where its weights are.
#[derive(Debug)]
pub struct Checkpoint {
    directory: PathBuf,
    config_json: Vec<u8>,
    config: BertConfig,
    weights: Option<PathBuf>,
}

impl Checkpoint {
    /// Opens a directory with a `config.json`. Weights are optional: without
    /// them only a random model can be built.
    ///
    /// # Errors
    /// A directory or `config.json` that is missing, unreadable or unsupported,
    /// or weights in a format that is not read; each with its path.
    pub fn open(directory: &Path) -> Result<Self> {
        let found = std::fs::metadata(directory)
            .map_err(|error| Error::io(directory, "open the checkpoint directory", error))?;
        if !found.is_dir() {
            let message = "expected a checkpoint directory, found a file";
            return Err(Error::new(ErrorKind::Checkpoint, message).at_path(directory));
        }
        let path = directory.join("config.json");
        let config_json = read_side_file(&path)?;
        let config = BertConfig::from_json(&config_json).map_err(|error| error.at_path(&path))?;
        let weights = find_weights(directory)?;
        Ok(Self { directory: directory.to_owned(), config_json, config, weights })
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The configuration.
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// The bytes of `config.json`.
    pub fn config_json(&self) -> &[u8] {
        &self.config_json
    }

    /// The weight file, if there is one.
    pub fn weights(&self) -> Option<&Path> {
        self.weights.as_deref()
    }

    /// The tensors under the file's own names, empty without a weight file.
    /// They lie in the mapped file: nothing is copied yet.
    pub fn state_dict(&self) -> Result<StateDict> {
        let Some(path) = &self.weights else { return Ok(StateDict::default()) };
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut state = StateDict::default();
        for (name, tensor) in safetensors::read(path)? {
            state.insert(name, tensor, &file);
        }
        Ok(state)
    }

    /// The tokenizer files that are there, by name.
    pub fn tokenizer_files(&self) -> Result<Vec<(String, Vec<u8>)>> {
        TOKENIZER_FILES
            .iter()
            .map(|name| (*name, self.directory.join(name)))
            .filter(|(_, path)| path.is_file())
            .map(|(name, path)| Ok((name.to_owned(), read_side_file(&path)?)))
            .collect()
    }
}

fn read_side_file(path: &Path) -> Result<Vec<u8>> {
    let doing = "read the file";
    let length = std::fs::metadata(path).map_err(|error| Error::io(path, doing, error))?.len();
    if length > LARGEST_SIDE_FILE {
        let message = format!("found {length} bytes, expected at most {LARGEST_SIDE_FILE}");
        return Err(Error::new(ErrorKind::Checkpoint, message).at_path(path));
    }
    std::fs::read(path).map_err(|error| Error::io(path, doing, error))
}

fn find_weights(directory: &Path) -> Result<Option<PathBuf>> {
    let path = directory.join("model.safetensors");
    if path.is_file() {
        return Ok(Some(path));
    }
    // Refused by name: to overlook these would turn a trained model into a random one.
    for name in
        ["model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"]
    {
        let path = directory.join(name);
        if path.is_file() {
            let message = "weights in this form are not supported yet, only model.safetensors";
            return Err(Error::new(ErrorKind::Unsupported, message).at_path(&path));
        }
    }
    Ok(None)
}
