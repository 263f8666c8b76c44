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
#[cfg(feature = "torch")]
mod writing;

pub(crate) use file::{ArchiveFile, FileIdentity, Opened};
pub use metadata::{FORMAT_VERSION, InputInfo, Limits, Metadata, OutputInfo, weights_sha256};
pub use weights::{ArchiveWeights, WeightRecord};

use crate::assets::Assets;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use torchscript_reader::ArchiveReader;

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
        reader: torchscript_reader::Result<ArchiveReader<R>>,
    ) -> Result<(Option<Self>, ArchiveReader<R>)> {
        let invalid = |message: &str| Error::new(ErrorKind::Archive, message);
        if !start.starts_with(b"PK\x03\x04") {
            return Err(invalid("not a TorchScript archive"));
        }
        let damaged = |error: torchscript_reader::Error| match error.kind() {
            torchscript_reader::ErrorKind::Io => unreadable("cannot read the archive", error),
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
