//! `pytorch_model.bin`: what `torch.save` writes, in the zip form of torch 1.6
//! and in the legacy form before it.
//!
//! Source: <https://github.com/pytorch/pytorch/blob/v2.11.0/torch/serialization.py>

use super::pickle::{Object, Pickle, TensorRecord};
use super::span::{CopyLimit, TensorSpan, tensors};
use super::{open_file, unread};
use crate::error::{Error, ErrorKind, Result, unmapped};
use crate::tensor::Tensor;
use bertscript_process::MappedFile;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use zip::result::ZipError;

/// What a legacy file begins with.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const LEGACY_PROTOCOL: i64 = 1001;

/// Where each storage's elements begin in the file, and how many there are
/// bytes for.
pub(super) type Places = HashMap<String, (u64, u64)>;

/// Reads every tensor, sorted by name. Contiguous tensors lie in the mapped
/// file; tensors on one storage still share it.
///
/// # Errors
/// [`ErrorKind::Io`]; [`ErrorKind::Unsupported`] for a name or opcode that
/// weights do not need, by that name; [`ErrorKind::Checkpoint`] for what is
/// malformed or truncated. Nothing in the file is ever run.
pub(crate) fn read(path: &Path) -> Result<Vec<(String, Tensor)>> {
    let (file, length) = open_file(path)?;
    read_file(&file, length).map_err(|error| error.at_path(path))
}

fn read_file(file: &File, length: u64) -> Result<Vec<(String, Tensor)>> {
    let (pickle, places) = read_contents(&mut BufReader::new(file))?;
    let (mut limit, mut counted) = (CopyLimit::new(length), HashSet::new());
    let mut span = |record: &TensorRecord| {
        let key = &record.storage.key;
        let place = places.get(&**key).copied();
        let place = place.ok_or_else(|| malformed(format!("storage {key} is missing")))?;
        let span = TensorSpan::new(record, place, length)?;
        if counted.insert(span.clone()) {
            limit.count(&span)?;
        }
        Ok(span)
    };
    let spans = state_dict(&pickle)?.into_iter().map(|(name, record)| {
        let span = span(record).map_err(|error: Error| error.at(name))?;
        Ok((name, span))
    });
    let spans = spans.collect::<Result<Vec<_>>>()?;
    let mapped = Arc::new(MappedFile::new(file).map_err(unmapped)?);
    tensors(spans.iter().map(|(name, span)| (*name, span)), &mapped)
}

/// The pickle, and where the storages are that it names.
pub(super) fn read_contents(reader: &mut (impl BufRead + Seek)) -> Result<(Pickle, Places)> {
    let start = reader.fill_buf().map_err(unreadable)?;
    if start.starts_with(b"PK\x03\x04") {
        read_zip(reader)
    } else if start.starts_with(b"version ") {
        Err(malformed(
            "a Git LFS pointer stands in place of the weights; fetch them with `git lfs pull`",
        ))
    } else if start.first() == Some(&0x80) {
        read_legacy(reader)
    } else if start.get(257..262) == Some(b"ustar") {
        let message = "the tar form, which torch wrote before 2018, is not supported; load and save it with a newer torch";
        Err(Error::new(ErrorKind::Unsupported, message))
    } else {
        Err(malformed("not a file of torch.save"))
    }
}

/// A zip of `<top>/data.pkl` and `<top>/data/<key>`, stored, not compressed.
fn read_zip(reader: &mut (impl Read + Seek)) -> Result<(Pickle, Places)> {
    const DAMAGED: &str = "a truncated or damaged zip file";
    let damaged = |error: ZipError| match error {
        ZipError::Io(error) => unread(error, DAMAGED),
        error => malformed(DAMAGED).because(error),
    };
    let mut archive = zip::ZipArchive::new(reader).map_err(damaged)?;
    let (mut top, mut places, mut order) = (None, Places::new(), Vec::new());
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(damaged)?;
        let path = entry.name().map_err(damaged)?;
        let Some((folder, name)) = path.split_once('/') else { continue };
        let key = name.strip_prefix("data/");
        if name == "data.pkl" {
            top = Some(folder.to_owned());
        }
        if name == "byteorder" {
            order.push(index);
        }
        let is_stored = entry.compression() == zip::CompressionMethod::Stored;
        if !is_stored && (name == "data.pkl" || key.is_some()) {
            return Err(malformed(format!("the record {name} is compressed")));
        }
        if let Some(key) = key {
            let start = entry.data_start().ok_or_else(|| malformed("a record without data"))?;
            places.insert(key.to_owned(), (start, entry.size()));
        }
    }
    for index in order {
        let mut text = String::new();
        let entry = archive.by_index(index).map_err(damaged)?;
        entry
            .take(16)
            .read_to_string(&mut text)
            .map_err(|error| unread(error, "the record byteorder is damaged"))?;
        if text != "little" {
            return Err(Error::new(ErrorKind::Unsupported, format!("byte order {text:?}")));
        }
    }
    let top = top.ok_or_else(|| malformed("a zip file, but none of torch.save: no data.pkl"))?;
    let mut entry = archive.by_name(&format!("{top}/data.pkl")).map_err(damaged)?;
    // To its end, where its checksum is compared.
    let mut pickle = Vec::new();
    entry
        .read_to_end(&mut pickle)
        .map_err(|error| unread(error, "the record data.pkl is damaged"))?;
    Ok((Pickle::read(&mut &pickle[..])?, places))
}

/// Five pickles in a row (magic, protocol, system, object, storage keys), then
/// for each key its number of elements and the elements.
fn read_legacy(reader: &mut (impl BufRead + Seek)) -> Result<(Pickle, Places)> {
    if !matches!(Pickle::read(reader)?.root(), Object::Long(magic) if *magic == MAGIC) {
        return Err(malformed("not a file of torch.save: its magic number is missing"));
    }
    if !matches!(Pickle::read(reader)?.root(), Object::Int(LEGACY_PROTOCOL)) {
        return Err(malformed(format!("expected protocol {LEGACY_PROTOCOL}")));
    }
    let system = Pickle::read(reader)?;
    if let Object::Dict(entries) = system.root() {
        for (key, value) in entries {
            let little = matches!(system.get(*key), Object::Text(key) if **key == *"little_endian");
            if little && !matches!(system.get(*value), Object::Bool(true)) {
                return Err(Error::new(ErrorKind::Unsupported, "written on a big-endian machine"));
            }
        }
    }
    let pickle = Pickle::read(reader)?;
    let types: HashMap<_, _> =
        pickle.storages().map(|storage| (storage.key.clone(), storage.element_type)).collect();
    let keys = Pickle::read(reader)?;
    let Object::List(list) = keys.root() else {
        return Err(malformed("the list of storages is missing"));
    };
    let mut places = Places::new();
    for id in list {
        let Object::Text(key) = keys.get(*id) else {
            return Err(malformed("a storage key that is no text"));
        };
        let element_type =
            types.get(key).ok_or_else(|| malformed(format!("no tensor has storage {key}")))?;
        let mut numel = [0; 8];
        reader.read_exact(&mut numel).map_err(|error| unread(error, "truncated"))?;
        let size = u64::try_from(i64::from_le_bytes(numel))
            .ok()
            .and_then(|numel| numel.checked_mul(element_type.size() as u64))
            .ok_or_else(|| malformed(format!("storage {key} has an impossible size")))?;
        let start = reader.stream_position().map_err(unreadable)?;
        let end = start.checked_add(size).ok_or_else(|| malformed("a storage beyond the file"))?;
        places.insert(key.to_string(), (start, size));
        reader.seek(SeekFrom::Start(end)).map_err(|error| unread(error, "truncated"))?;
    }
    Ok((pickle, places))
}

/// The named tensors: of the object itself, or of its `state_dict` or `model`.
/// Of a name that stands twice the last one counts, as in Python.
pub(super) fn state_dict(pickle: &Pickle) -> Result<BTreeMap<&str, &TensorRecord>> {
    let tensors = |entries: &[(usize, usize)]| {
        let entries = entries.iter().map(|(key, value)| (pickle.get(*key), pickle.get(*value)));
        let named = entries.filter_map(|(key, value)| match (key, value) {
            (Object::Text(name), Object::Tensor(tensor)) => Some((&**name, tensor)),
            _ => None,
        });
        named.collect::<BTreeMap<_, _>>()
    };
    let Object::Dict(entries) = pickle.root() else {
        return Err(malformed("the file holds no dict of named tensors"));
    };
    for wrapper in ["state_dict", "model"] {
        for (key, value) in entries {
            if let (Object::Text(name), Object::Dict(inner)) =
                (pickle.get(*key), pickle.get(*value))
                && **name == *wrapper
            {
                return Ok(tensors(inner));
            }
        }
    }
    let found = tensors(entries);
    if found.is_empty() && !entries.is_empty() {
        return Err(malformed(
            "the file's dict holds no tensors, nor a state_dict or model that does",
        ));
    }
    Ok(found)
}

fn unreadable(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot read the file").because(error)
}

fn malformed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Checkpoint, message)
}
