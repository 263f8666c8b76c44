//! A Hugging Face checkpoint directory, read as it is.

mod modules;
mod pickle;
mod safetensors;
mod sharded;
mod span;
mod state_dict;
mod torch_file;

pub(crate) use modules::{MODULES_FILE, ModuleEntry, read_modules};
pub(crate) use pickle::{Names, Object, Pickle, TensorRecord};
pub(crate) use safetensors::from_bytes as safetensors_from_bytes;
pub use safetensors::{read_safetensors, write_safetensors};
pub(crate) use span::{CopyLimit, TensorSpan, tensors as tensors_of_spans};
pub(crate) use state_dict::Entry;
pub use state_dict::{Renamed, StateDict};

use crate::assets::Assets;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use sharded::Index;
use std::fs::File;
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The files that text needs, which go into an archive when they are there.
const TEXT_FILES: [&str; 10] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
    "special_tokens_map.json",
    "added_tokens.json",
];
/// The settings of sentence-transformers' Transformer, in its order: the first that says
/// anything counts.
///
/// Source: `Transformer.load_config`, <https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/base/modules/transformer.py>
pub(crate) const SENTENCE_FILES: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];
/// Those of sentence-transformers, in its own folder.
const PIPELINE_FILES: [&str; 2] = [MODULES_FILE, "config_sentence_transformers.json"];

/// No configuration or tokenizer file comes near this size, nor do the weights
/// of a module after the model.
const MAX_SIDE_FILE_BYTES: u64 = 64 << 20;

/// An opened checkpoint: its configuration and where its weights are.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// What was opened
    root: PathBuf,
    /// Where the model is: in old sentence-transformers models a folder of its own
    directory: PathBuf,
    config_json: Vec<u8>,
    config: Config,
    weights: Option<(PathBuf, &'static WeightFile)>,
}

/// A reader of one weight file.
type Reader = fn(&Path) -> Result<Vec<(String, crate::tensor::Tensor)>>;

/// A weight file that a directory may have.
#[derive(Debug)]
struct WeightFile {
    name: &'static str,
    read: Reader,
    /// Whether it is an index of others.
    is_index: bool,
}

/// The weight files, in transformers' order.
static WEIGHT_FILES: [WeightFile; 4] = [
    WeightFile { name: "model.safetensors", read: safetensors::read, is_index: false },
    WeightFile { name: "model.safetensors.index.json", read: safetensors::read, is_index: true },
    WeightFile { name: "pytorch_model.bin", read: torch_file::read, is_index: false },
    WeightFile { name: "pytorch_model.bin.index.json", read: torch_file::read, is_index: true },
];

impl Checkpoint {
    /// Opens a directory with a `config.json`, or with a `modules.json` that
    /// says where it is. Weights are optional: without them only a random model
    /// can be built.
    ///
    /// # Errors
    /// A directory or `config.json` that is missing, unreadable or unsupported.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        let found = std::fs::metadata(root)
            .map_err(|error| Error::io(root, "open the checkpoint directory", error))?;
        if !found.is_dir() {
            let message = "expected a checkpoint directory, found a file";
            return Err(Error::new(ErrorKind::Checkpoint, message).at_path(root));
        }
        let directory = transformer_directory(root)?;
        let path = directory.join("config.json");
        let config_json = read_side_file(&path)?;
        let config = Config::from_json(&config_json).map_err(|error| error.at_path(&path))?;
        let weights =
            first_file(WEIGHT_FILES.iter().map(|file| (directory.join(file.name), file)))?;
        Ok(Self { root: root.to_owned(), directory, config_json, config, weights })
    }

    /// The directory that was opened.
    #[cfg(not(feature = "torch"))]
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory that the configuration and the weights are in.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The bytes of `config.json`.
    pub fn config_json(&self) -> &[u8] {
        &self.config_json
    }

    /// The weight file, or the index of several, if there is one.
    pub fn weights(&self) -> Option<&Path> {
        self.weights.as_ref().map(|(path, _)| path.as_path())
    }

    /// The files that a checkpoint may have here, there or not, used or not: an output
    /// must replace none of them.
    ///
    /// # Errors
    /// An index or a `modules.json` that cannot be read or is malformed.
    pub fn files(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let mut folders = vec![self.root.clone(), self.directory.clone()];
        let modules = self.root.join(MODULES_FILE);
        if is_file(&modules)? {
            let modules =
                read_modules(&read_side_file(&modules)?).map_err(|error| error.at_path(&modules));
            folders.extend(modules?.iter().map(|module| self.root.join(&module.path)));
        }
        if let Some((path, WeightFile { is_index: true, .. })) = &self.weights {
            files.extend(read_index(path)?.files(&self.directory));
        }
        let weights = WEIGHT_FILES.each_ref().map(|file| file.name);
        let of_text = || TEXT_FILES.iter().chain(&SENTENCE_FILES).chain(&PIPELINE_FILES);
        let names = || of_text().chain(&weights).chain(&["config.json"]);
        files.extend(folders.iter().flat_map(|folder| names().map(|name| folder.join(name))));
        Ok(files)
    }

    /// The tensors under the files' own names, empty without weight files. They
    /// lie in the mapped files: nothing is copied yet.
    pub fn state_dict(&self) -> Result<StateDict> {
        let mut state = StateDict::default();
        let Some((path, WeightFile { name, read, is_index })) = &self.weights else {
            return Ok(state);
        };
        if !is_index {
            for (tensor_name, tensor) in read(path)? {
                state.insert(tensor_name, tensor, name);
            }
            return Ok(state);
        }
        let index = read_index(path)?;
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

    /// What goes into an archive beside the weights: the configuration, the
    /// tokenizer, and the pipeline of sentence-transformers.
    ///
    /// # Errors
    /// A file that cannot be read, or a malformed `modules.json`.
    pub fn assets(&self) -> Result<Assets> {
        let mut assets = Assets::default();
        assets.insert("config.json", self.config_json.clone());
        let mut take = |name: &str, path: PathBuf| -> Result<()> {
            if is_file(&path)? {
                assets.insert(name, read_side_file(&path)?);
            }
            Ok(())
        };
        for name in TEXT_FILES.into_iter().chain(SENTENCE_FILES) {
            take(name, self.directory.join(name))?;
        }
        for name in PIPELINE_FILES {
            take(name, self.root.join(name))?;
        }
        let Some(modules) = assets.get(MODULES_FILE) else { return Ok(assets) };
        let modules = read_modules(modules).map_err(|error| error.at_path(&self.root))?;
        for module in modules.iter().skip(1) {
            let has_weights = matches!(module.class(), "Dense" | "LayerNorm");
            let folder = self.root.join(&module.path);
            let config = folder.join("config.json");
            if is_file(&config)? {
                assets.insert(module.file("config.json"), read_side_file(&config)?);
            }
            // Of weights, whatever their form, a safetensors file is made.
            let found = WEIGHT_FILES.iter().filter(|file| has_weights && !file.is_index);
            let found = found.map(|file| (folder.join(file.name), file.read));
            if let Some((path, read)) = first_file(found)? {
                let contents =
                    safetensors::to_bytes(&read(&path)?).map_err(|error| error.at_path(&path))?;
                assets.insert(module.file("model.safetensors"), contents);
            }
        }
        Ok(assets)
    }
}

/// What a tokenizer is built from: the files of a directory, or a
/// `tokenizer.json` or `vocab.txt` alone.
pub(crate) fn tokenizer_assets(path: &Path) -> Result<Assets> {
    let found =
        std::fs::metadata(path).map_err(|error| Error::io(path, "open the tokenizer", error))?;
    let mut assets = Assets::default();
    if !found.is_dir() {
        let has_extension = |wanted| path.extension().is_some_and(|found| found == wanted);
        if has_extension("model") {
            // Unlike a vocab.txt, whose class is BERT's unless a file says otherwise: several
            // classes have files of each of these names.
            let message = "found a SentencePiece model, which does not name its tokenizer class; \
                           expected the checkpoint directory, a tokenizer.json or a vocab.txt";
            return Err(Error::new(ErrorKind::Unsupported, message).at_path(path));
        }
        let is_json = has_extension("json");
        let name = if is_json { "tokenizer.json" } else { "vocab.txt" };
        assets.insert(name, read_side_file(path)?);
        return Ok(assets);
    }
    for name in TEXT_FILES.into_iter().chain(SENTENCE_FILES).chain(["config.json"]) {
        let path = path.join(name);
        if is_file(&path)? {
            assets.insert(name, read_side_file(&path)?);
        }
    }
    Ok(assets)
}

/// The folder of the Transformer module, where there are modules.
fn transformer_directory(root: &Path) -> Result<PathBuf> {
    let path = root.join(MODULES_FILE);
    if is_file(&root.join("config.json"))? || !is_file(&path)? {
        return Ok(root.to_owned());
    }
    let modules = read_modules(&read_side_file(&path)?).map_err(|error| error.at_path(&path))?;
    Ok(modules.first().map_or(root.to_owned(), |module| root.join(&module.path)))
}

fn read_index(path: &Path) -> Result<Index> {
    Index::from_json(&read_side_file(path)?).map_err(|error| error.at_path(path))
}

fn read_side_file(path: &Path) -> Result<Vec<u8>> {
    let io = |error| Error::io(path, "read the file", error);
    let (file, length) = open_file(path)?;
    check_size(length).map_err(|error| error.at_path(path))?;
    let mut contents = Vec::new();
    // The file may grow meanwhile; one that shrinks is not what it was made to be.
    let found = file.take(length).read_to_end(&mut contents).map_err(io)?;
    if found as u64 != length {
        let message = format!("found {found} bytes, expected {length}: it changes meanwhile");
        return Err(Error::new(ErrorKind::Io, message).at_path(path));
    }
    Ok(contents)
}

/// Whether there is a file. Where that cannot be told, since a folder is closed or
/// the disk fails, nothing is left out in silence.
fn is_file(path: &Path) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(found.is_file()),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(false),
        Err(error) => Err(Error::io(path, "open the file", error)),
    }
}

/// The first of some files that is there, with what belongs to it.
fn first_file<T>(files: impl Iterator<Item = (PathBuf, T)>) -> Result<Option<(PathBuf, T)>> {
    for (path, with) in files {
        if is_file(&path)? {
            return Ok(Some((path, with)));
        }
    }
    Ok(None)
}

/// Opens a file, and says how long it is. Symbolic links are followed: the cache
/// of Hugging Face is made of them.
fn open_file(path: &Path) -> Result<(File, u64)> {
    let io = |error| Error::io(path, "open the file", error);
    let found = std::fs::metadata(path).map_err(io)?;
    if !found.is_file() {
        // Reading a pipe or a device may never end.
        return Err(Error::new(ErrorKind::Checkpoint, "expected a regular file").at_path(path));
    }
    Ok((File::open(path).map_err(io)?, found.len()))
}

/// What the system says of a file that cannot be read; `message` of one that ends too
/// early, or names a place that no file has.
fn unread(error: std::io::Error, message: &str) -> Error {
    let (kind, message) = match error.raw_os_error() {
        Some(_) if error.kind() != std::io::ErrorKind::InvalidInput => {
            (ErrorKind::Io, "cannot read the file")
        }
        _ => (ErrorKind::Checkpoint, message),
    };
    Error::new(kind, message).because(error)
}

fn check_size(bytes: u64) -> Result<()> {
    if bytes <= MAX_SIDE_FILE_BYTES {
        return Ok(());
    }
    let message = format!("found {bytes} bytes, expected at most {MAX_SIDE_FILE_BYTES}");
    Err(Error::new(ErrorKind::Checkpoint, message))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
