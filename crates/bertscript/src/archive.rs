//! The `.pt`: a TorchScript program with everything beside it that running it
//! takes.
//!
//! An archive is what `torch.jit.load` opens, plus extra files: `bertscript.json`
//! ([`Metadata`]), `config.json`, and the checkpoint's tokenizer files.

mod file;
mod metadata;
#[cfg(test)]
mod pickles;
mod state_dict;
mod weights;

pub(crate) use file::{ArchiveFile, FileIdentity, Opened};
pub use metadata::{FORMAT_VERSION, InputInfo, Limits, Metadata, OutputInfo, weights_sha256};
pub use weights::{ArchiveWeights, WeightRecord};

use crate::assets::Assets;
use crate::atomic_file;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::models::PreTrained;
use crate::shapes::Shapes;
use crate::tensor::Tensor;
use crate::trace::scan_code;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Read, Seek};
use std::path::Path;
use torchscript::{ArchiveReader, ScriptModule};

/// The name of the metadata among the extra files.
const METADATA_FILE: &str = "bertscript.json";
/// The name of the configuration among the extra files.
const CONFIG_FILE: &str = "config.json";

/// What stands beside the program in an archive.
#[derive(Debug, Clone)]
pub struct Archive {
    metadata: Metadata,
    config: Config,
    assets: Assets,
}

impl Archive {
    /// Describes a model that is traced for `shapes`, and takes along what stands beside
    /// its weights ([`PreTrained::assets`]).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if no `config.json` does.
    pub fn new(model: &PreTrained, shapes: &Shapes) -> Result<Self> {
        let mut archive = Self::without_digest(model, shapes)?;
        archive.metadata.weights_sha256 = weights_sha256(&shared(model.parameters())?)?;
        Ok(archive)
    }

    /// Describes a model, all but the digest of its weights, which takes a while.
    pub(crate) fn without_digest(model: &PreTrained, shapes: &Shapes) -> Result<Self> {
        let (config, assets) = (model.config().clone(), model.assets()?);
        if assets.get(CONFIG_FILE).is_none() {
            let message = format!("found no {CONFIG_FILE} beside the weights of the model");
            return Err(Error::new(ErrorKind::InvalidInput, message).at("assets"));
        }
        let files = assets.names().map(str::to_owned).collect();
        Ok(Self { metadata: Metadata::new(model, shapes, files), config, assets })
    }

    /// Adds the digest of the program's weights.
    pub(crate) fn with_digest_of(mut self, script: &ScriptModule) -> Result<Self> {
        let named = script.named_tensors()?.into_iter().filter(|named| named.is_parameter);
        let parameters: Vec<_> = named.map(|named| (named.name, named.tensor)).collect();
        self.metadata.weights_sha256 = weights_sha256(&shared(&parameters)?)?;
        Ok(self)
    }

    /// Writes the program and the files beside it to `path`, whole or not at
    /// all, once its code is known to hold no device, shape or constant.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if `path` is something other than a regular file,
    /// [`ErrorKind::Io`], or [`ErrorKind::Verification`] with the line of code.
    pub fn save(&self, script: &ScriptModule, path: impl AsRef<Path>) -> Result<()> {
        atomic_file::write(path.as_ref(), |temporary| self.write(script, temporary))
    }

    /// Writes to a path that is not the final one.
    pub(crate) fn write(&self, script: &ScriptModule, temporary: &Path) -> Result<()> {
        let metadata = self.metadata.to_json()?;
        let mut files: Vec<(&str, &[u8])> = vec![(METADATA_FILE, &metadata)];
        files.extend(self.assets.iter());
        // The place is the final path, which the caller knows.
        let failed = || Error::new(ErrorKind::Io, "cannot write the archive");
        let file = File::create(temporary).map_err(|error| failed().because(error))?;
        let buffered = BufWriter::with_capacity(1 << 20, file);
        script.save(buffered, &files).map_err(|error| match error.into_source() {
            Ok(cause) => failed().because(cause),
            Err(error) => Error::from(error),
        })?;
        self.scan(&mut ArchiveReader::open(temporary)?)?;
        // libtorch prints code into streams, which keep quiet when memory runs out: code
        // may have been cut off.
        ScriptModule::check_file(temporary).map_err(|error| match Error::from(error) {
            error if error.kind() == ErrorKind::OutOfMemory => error,
            error => Error::new(ErrorKind::Io, "what was written does not load").because(error),
        })
    }

    fn scan(&self, reader: &mut ArchiveReader<impl Read + Seek>) -> Result<()> {
        let model = self.config.model(self.metadata.architecture()?)?;
        for name in reader.records()? {
            if name.starts_with("code/") && name.ends_with(".py") {
                let code = reader.record(&name)?.unwrap_or_default();
                scan_code(&name, &String::from_utf8_lossy(&code), &model, &self.metadata.shapes)?;
            }
        }
        Ok(())
    }

    /// Reads what stands beside the program; none of its code is loaded. `None`
    /// if nothing does: a TorchScript program made by somebody else.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], [`ErrorKind::Archive`] for a file that is no
    /// TorchScript archive or a damaged one, [`ErrorKind::VersionMismatch`] for
    /// one of a newer format.
    pub fn open(path: impl AsRef<Path>) -> Result<Option<Self>> {
        let path = path.as_ref();
        let read = || Self::from_file(&open_file(path)?);
        read().map_err(|error| error.at_path(path))
    }

    fn from_file(file: &File) -> Result<Option<Self>> {
        Self::read(&start_of(file)?, ArchiveReader::from_file(file)).map(|(archive, _)| archive)
    }

    /// Reads an archive in memory, as [`Self::open`] does a file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Option<Self>> {
        let read = Self::read(bytes, ArchiveReader::from_bytes(bytes));
        read.map(|(archive, _)| archive).map_err(|error| error.at("archive"))
    }

    /// Reads an archive whose first bytes are given, and returns the reader, for more.
    pub(crate) fn read<R: Read + Seek>(
        start: &[u8],
        reader: torchscript::Result<ArchiveReader<R>>,
    ) -> Result<(Option<Self>, ArchiveReader<R>)> {
        let invalid = |message: &str| Error::new(ErrorKind::Archive, message);
        if !start.starts_with(b"PK\x03\x04") {
            return Err(invalid("not a TorchScript archive"));
        }
        let damaged = |error: torchscript::Error| match error.kind() {
            torchscript::ErrorKind::Io => unreadable("cannot read the archive", error),
            _ => invalid("a truncated or damaged archive").because(error),
        };
        let mut reader = reader.map_err(damaged)?;
        let records = reader.records().map_err(damaged)?;
        if !records.iter().any(|name| name == "constants.pkl") {
            return Err(invalid("a zip file, but not a TorchScript archive"));
        }
        reader.check().map_err(damaged)?;
        let Some(metadata) = reader.extra_file(METADATA_FILE).map_err(damaged)? else {
            return Ok((None, reader));
        };
        let metadata = Metadata::from_json(&metadata)?;
        let mut extra = |name: &str| {
            let file = reader.extra_file(name).map_err(damaged)?;
            file.ok_or_else(|| invalid(&format!("the extra file {name} is missing")))
        };
        let config =
            Config::from_json(&extra(CONFIG_FILE)?).map_err(|error| error.at(CONFIG_FILE))?;
        let names: BTreeSet<_> = metadata.files.iter().collect();
        let files = names.into_iter().map(|name| Ok((name.clone(), extra(name)?)));
        let assets = files.collect::<Result<_>>()?;
        metadata.check(&config)?;
        Ok((Some(Self { metadata, config, assets }), reader))
    }

    /// The description of the program.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The configuration of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The extra files beside the description.
    pub fn assets(&self) -> &Assets {
        &self.assets
    }
}

/// The same tensors of libtorch's, over the same memory.
fn shared(parameters: &[(String, tch::Tensor)]) -> Result<Vec<(String, Tensor)>> {
    let shared = |(name, tensor): &(String, tch::Tensor)| {
        Ok((name.clone(), tensor.shallow_clone().try_into()?))
    };
    parameters.iter().map(shared).collect()
}

/// The first bytes of an open file.
pub(crate) fn start_of(mut file: &File) -> Result<Vec<u8>> {
    let mut start = Vec::new();
    let read = file.rewind().and_then(|()| file.take(4).read_to_end(&mut start));
    read.map_err(|error| unreadable("cannot read the archive", error))?;
    Ok(start)
}

/// Opens an archive, once: what is read of it is of one file, whatever takes its place.
pub(crate) fn open_file(path: &Path) -> Result<File> {
    // Reading a pipe or a device may never end.
    let failed = |error: std::io::Error| unreadable("cannot open the archive", error);
    match std::fs::metadata(path).map_err(failed)?.is_file() {
        true => File::open(path).map_err(failed),
        false => Err(Error::new(ErrorKind::Archive, "expected a regular file")),
    }
}

fn unreadable(message: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Io, message).because(error)
}
