//! A Hugging Face checkpoint directory, read as it is.

mod pickle;
mod safetensors;
mod sharded;
mod state_dict;
mod torch_file;

pub use safetensors::{read as read_safetensors, write as write_safetensors};
pub use state_dict::{Renamed, StateDict};

use crate::config::BertConfig;
use crate::error::{Error, ErrorKind, Result};
use sharded::Index;
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

/// A reader of one weight file.
type Reader = fn(&Path) -> Result<Vec<(String, tch::Tensor)>>;

/// The weight files that a directory may have, in transformers' order, and
/// whether they are an index of others.
const WEIGHT_FILES: [(&str, Reader, bool); 4] = [
    ("model.safetensors", safetensors::read, false),
    ("model.safetensors.index.json", safetensors::read, true),
    ("pytorch_model.bin", torch_file::read, false),
    ("pytorch_model.bin.index.json", torch_file::read, true),
];

impl Checkpoint {
    /// Opens a directory with a `config.json`. Weights are optional: without
    /// them only a random model can be built.
    ///
    /// # Errors
    /// A directory or `config.json` that is missing, unreadable or unsupported.
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
        let weights = WEIGHT_FILES.iter().map(|(name, ..)| directory.join(name));
        let weights = weights.into_iter().find(|path| path.is_file());
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

    /// The weight file, or the index of several, if there is one.
    pub fn weights(&self) -> Option<&Path> {
        self.weights.as_deref()
    }

    /// The tensors under the files' own names, empty without weight files. They
    /// lie in the mapped files: nothing is copied yet.
    pub fn state_dict(&self) -> Result<StateDict> {
        let mut state = StateDict::default();
        let Some(path) = &self.weights else { return Ok(state) };
        let name = file_name(path);
        let found = WEIGHT_FILES.iter().find(|(known, ..)| **known == *name);
        let Some((_, read, is_index)) = found else { return Ok(state) };
        if !is_index {
            for (tensor_name, tensor) in read(path)? {
                state.insert(tensor_name, tensor, &name);
            }
            return Ok(state);
        }
        let index =
            Index::from_json(&read_side_file(path)?).map_err(|error| error.at_path(path))?;
        for file in index.files(&self.directory) {
            let name = file_name(&file);
            for (tensor_name, tensor) in read(&file)? {
                state.insert(tensor_name, tensor, &name);
            }
            if let Some(missing) = index.tensors_of(&name).find(|name| state.get(name).is_none()) {
                let message = format!("the index says that {missing} is here, but it is not");
                return Err(Error::new(ErrorKind::Checkpoint, message).at_path(&file));
            }
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

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
