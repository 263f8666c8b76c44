//! The weights of an archive as data, without libtorch loading its code.

use super::state_dict::state_dict;
use super::{Metadata, unreadable};
use crate::checkpoint::{CopyLimit, Names, Pickle, TensorRecord, TensorSpan, tensors_of_spans};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{ElementType, Tensor};
use bertscript_process::MappedFile;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek};
use std::sync::Arc;
use torchscript_reader::ArchiveReader;

/// The record of the module's attributes.
const PICKLE: &str = "data.pkl";
const CANNOT_READ: &str = "cannot read the archive";

/// A tensor of an archive: what it is, and where its elements are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightRecord {
    span: TensorSpan,
    record: String,
}

/// The tensors of an archive by name, in the order of its modules: parameters, buffers,
/// and other attributes that are tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveWeights {
    entries: Vec<(String, WeightRecord)>,
    index: BTreeMap<String, usize>,
}

impl WeightRecord {
    /// The type of the elements.
    pub fn element_type(&self) -> ElementType {
        self.span.element_type
    }

    /// The size of each dimension.
    pub fn size(&self) -> &[i64] {
        &self.span.size
    }

    /// The stride of each dimension, in elements.
    pub fn stride(&self) -> &[i64] {
        &self.span.stride
    }

    /// The byte offset of the first element in the archive.
    pub fn offset(&self) -> usize {
        self.span.offset
    }

    /// The record of the archive that holds the elements, such as `data/3`.
    pub fn record(&self) -> &str {
        &self.record
    }

    /// Whether [`ArchiveWeights::tensor`] maps the elements; otherwise it copies them,
    /// as they are not contiguous or not aligned.
    pub fn is_mappable(&self) -> bool {
        self.span.is_mappable()
    }
}

impl ArchiveWeights {
    /// Reads an open archive file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`]; [`ErrorKind::Unsupported`] for a name or opcode that weights do
    /// not need, by that name; [`ErrorKind::Archive`] for what is malformed, and for a
    /// record that is missing, compressed or too short, by its name.
    pub fn from_file(file: &File) -> Result<Self> {
        let length = file.metadata().map_err(|error| unreadable(CANNOT_READ, error))?.len();
        Self::read(&mut ArchiveReader::from_file(file).map_err(damaged)?, length)
    }

    /// Reads an archive in memory, as [`Self::from_file`] does a file; the offsets are in
    /// `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::read(&mut ArchiveReader::from_bytes(bytes).map_err(damaged)?, bytes.len() as u64)
    }

    /// Reads an open archive of `file_length` bytes.
    pub(crate) fn read(
        reader: &mut ArchiveReader<impl Read + Seek>,
        file_length: u64,
    ) -> Result<Self> {
        check_byte_order(reader)?;
        let pickle = record(reader, PICKLE)?.ok_or_else(|| missing(PICKLE))?;
        let pickle = Pickle::read_with(Names::TorchScript, &mut &pickle[..])
            .map_err(|error| of_archive(error).at(PICKLE))?;
        let named = state_dict(&pickle).map_err(|error| error.at(PICKLE))?;
        let mut limit = CopyLimit::new(file_length);
        let entries = named.into_iter().map(|(name, tensor)| {
            let record = format!("data/{}", tensor.storage.key);
            let span = span(reader, &record, tensor, file_length)?;
            limit.count(&span).map_err(|error| of_archive(error).at(&name))?;
            Ok((name, WeightRecord { span, record }))
        });
        let entries = entries.collect::<Result<Vec<_>>>()?;
        let index = entries.iter().enumerate().map(|(index, (name, _))| (name.clone(), index));
        Ok(Self { index: index.collect(), entries })
    }

    /// The tensors, in the order of the modules.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &WeightRecord)> {
        self.entries.iter().map(|(name, record)| (&**name, record))
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&WeightRecord> {
        self.index.get(name).map(|index| &self.entries[*index].1)
    }

    /// The tensor of this name in the archive, mapped by the caller; what
    /// [`WeightRecord::is_mappable`] excludes is copied by each call.
    ///
    /// # Errors
    /// [`ErrorKind::MissingParameter`] if there is none of this name.
    pub fn tensor(&self, file: &Arc<MappedFile>, name: &str) -> Result<Tensor> {
        let record = self.get(name).ok_or_else(|| {
            Error::new(ErrorKind::MissingParameter, "the archive has no such tensor").at(name)
        })?;
        record.span.tensor(file).map_err(|error| error.at(name))
    }

    /// Every tensor, as [`Self::tensor`] gives it; names of the same elements share a copy.
    pub fn tensors(&self, file: &Arc<MappedFile>) -> Result<Vec<(String, Tensor)>> {
        tensors_of_spans(self.iter().map(|(name, record)| (name, &record.span)), file)
    }

    /// Compares number and size of the tensors with the description, for an archive of
    /// this library, whose tensors are all parameters.
    ///
    /// # Errors
    /// [`ErrorKind::Archive`].
    pub fn check_size(&self, metadata: &Metadata) -> Result<()> {
        let mut known = HashSet::new();
        let (mut count, mut bytes) = (0_u64, 0_u64);
        for (_, WeightRecord { span, .. }) in &self.entries {
            if known.insert(span) {
                let numel = span.numel().unwrap_or(u64::MAX);
                let item = span.element_type.size() as u64;
                count = count.saturating_add(numel);
                bytes = bytes.saturating_add(numel.saturating_mul(item));
            }
        }
        for (key, found, expected) in [
            ("parameter_count", metadata.parameter_count, count),
            ("parameter_bytes", metadata.parameter_bytes, bytes),
        ] {
            if found != expected {
                let message =
                    format!("{key}: found {found}, expected {expected} of the tensors in {PICKLE}");
                return Err(Error::new(ErrorKind::Archive, message).at("bertscript.json"));
            }
        }
        Ok(())
    }
}

/// Finds the elements of a tensor in the record that holds its storage.
fn span<R: Read + Seek>(
    reader: &mut ArchiveReader<R>,
    record: &str,
    tensor: &TensorRecord,
    file_length: u64,
) -> Result<TensorSpan> {
    let bytes = reader.stored(record).map_err(damaged)?.ok_or_else(|| missing(record))?;
    TensorSpan::new(tensor, (bytes.start, bytes.end - bytes.start), file_length)
        .map_err(|error| of_archive(error).at(record))
}

/// Archives from before torch 2.1 do not say; all of them are little-endian.
fn check_byte_order<R: Read + Seek>(reader: &mut ArchiveReader<R>) -> Result<()> {
    match record(reader, "byteorder")? {
        None => Ok(()),
        Some(order) if order == b"little" => Ok(()),
        Some(order) => {
            let found = String::from_utf8_lossy(&order[..order.len().min(16)]).into_owned();
            let message = format!("found {found:?}, expected \"little\"");
            Err(Error::new(ErrorKind::Unsupported, message).at("byteorder"))
        }
    }
}

/// The contents of a record, if there is one of that name.
fn record<R: Read + Seek>(reader: &mut ArchiveReader<R>, name: &str) -> Result<Option<Vec<u8>>> {
    reader.record(name).map_err(|error| damaged(error).at(name))
}

fn damaged(error: torchscript_reader::Error) -> Error {
    match error.kind() {
        torchscript_reader::ErrorKind::Io => unreadable(CANNOT_READ, error),
        _ => Error::new(ErrorKind::Archive, error.to_string()),
    }
}

fn missing(record: &str) -> Error {
    Error::new(ErrorKind::Archive, "the record is missing").at(record)
}

/// What is malformed in a checkpoint is in an archive, too.
fn of_archive(error: Error) -> Error {
    error.with_kind(ErrorKind::Checkpoint, ErrorKind::Archive)
}

#[cfg(test)]
mod tests;
