//! Files in the safetensors format, <https://github.com/huggingface/safetensors>.

use super::{check_size, open_file};
use crate::device::Device;
use crate::error::{Error, ErrorKind, Result, unmapped};
use crate::tensor::{ElementType, Tensor};
use bertscript_process::MappedFile;
use safetensors::tensor::{Metadata, TensorView, serialize};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// The limit of the reference implementation.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// The header's length, in front of it.
const PREFIX: u64 = 8;

/// Reads every tensor of a file in the safetensors format, sorted by name. The tensors lie in
/// the mapped file.
///
/// # Errors
/// [`ErrorKind::Io`], or [`ErrorKind::Checkpoint`] for a malformed or truncated
/// file; the message says what is wrong with it.
pub fn read_safetensors(path: impl AsRef<Path>) -> Result<Vec<(String, Tensor)>> {
    read(path.as_ref())
}

pub(super) fn read(path: &Path) -> Result<Vec<(String, Tensor)>> {
    let (mut file, length) = open_file(path)?;
    let (metadata, data_start) =
        read_header(path, &mut file, length).map_err(|error| error.at_path(path))?;
    let mapped = MappedFile::new(&file).map_err(|error| unmapped(error).at_path(path))?;
    let mapped = Arc::new(mapped);

    let mut tensors = Vec::new();
    for (name, info) in metadata.tensors() {
        let element_type =
            element_type_of(&name, info.dtype).map_err(|error| error.at_path(path))?;
        check_shape(&name, &info.shape).map_err(|error| error.at_path(path))?;
        // The header was checked: offsets lie in the file, shapes match them.
        let (start, end) = info.data_offsets;
        let range = data_start + start..data_start + end;
        let tensor = Tensor::mapped(element_type, info.shape.clone(), &mapped, range)
            .map_err(|error| error.at(format!("{}: {name}", path.display())))?;
        check_bools(&name, &tensor).map_err(|error| error.at_path(path))?;
        tensors.push((name, tensor));
    }
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(tensors)
}

pub(super) fn read_header(
    path: &Path,
    file: &mut impl Read,
    length: u64,
) -> Result<(Metadata, usize)> {
    let malformed = |message: String| Error::new(ErrorKind::Checkpoint, message);
    let io = |error| Error::io(path, "read the file", error);
    let mut prefix = [0; PREFIX as usize];
    if length < PREFIX {
        return Err(malformed(format!("not a safetensors file: it has only {length} bytes")));
    }
    file.read_exact(&mut prefix).map_err(io)?;
    if &prefix == b"version " {
        return Err(malformed(
            "a Git LFS pointer stands in place of the weights; fetch them with `git lfs pull`"
                .to_owned(),
        ));
    }
    let header_length = u64::from_le_bytes(prefix);
    if header_length > MAX_HEADER_BYTES {
        return Err(malformed(format!(
            "not a safetensors file: a header of {header_length} bytes, expected at most {MAX_HEADER_BYTES}"
        )));
    }
    if header_length > length - PREFIX {
        return Err(malformed(format!(
            "truncated: the header has {header_length} bytes, but the file only {length}"
        )));
    }
    let mut header = vec![0; header_length as usize];
    file.read_exact(&mut header).map_err(io)?;
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|error| malformed(format!("malformed safetensors header: {error}")))?;
    // Sizes that are each possible may add up to more than a number holds.
    let (found, expected) = (length - PREFIX - header_length, metadata.data_len() as u64);
    if found != expected {
        let what = if found < expected { "truncated" } else { "malformed" };
        return Err(malformed(format!(
            "{what}: the header describes {expected} bytes of tensors, found {found}"
        )));
    }
    Ok((metadata, (PREFIX + header_length) as usize))
}

/// Reads every tensor of a file in memory.
pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Vec<(String, Tensor)>> {
    let malformed = |error: safetensors::SafeTensorError| {
        let message = format!("malformed safetensors file: {error}");
        Error::new(ErrorKind::Checkpoint, message)
    };
    let file = safetensors::SafeTensors::deserialize(bytes).map_err(malformed)?;
    let tensors = file.iter().map(|(name, view)| {
        let element_type = element_type_of(name, view.dtype())?;
        check_shape(name, view.shape())?;
        let tensor = Tensor::copied(element_type, view.shape().to_vec(), view.data())?;
        check_bools(name, &tensor)?;
        Ok((name.to_owned(), tensor))
    });
    tensors.collect()
}

/// Refuses bools of other bytes than 0 and 1, which compilers take for what they like.
fn check_bools(name: &str, tensor: &Tensor) -> Result<()> {
    if tensor.element_type() != ElementType::Bool {
        return Ok(());
    }
    match tensor.as_bytes()?.iter().max() {
        Some(largest) if *largest > 1 => {
            let message = format!("{name}: found a bool of the byte {largest}, expected 0 or 1");
            Err(Error::new(ErrorKind::Checkpoint, message))
        }
        _ => Ok(()),
    }
}

/// Refuses sizes that libtorch has not. Of an empty tensor the other sizes may be any.
fn check_shape(name: &str, shape: &[usize]) -> Result<()> {
    if shape.iter().all(|size| i64::try_from(*size).is_ok()) {
        return Ok(());
    }
    let message = format!("{name}: the shape {shape:?} is not possible");
    Err(Error::new(ErrorKind::Checkpoint, message))
}

/// The contents of a file of these tensors.
pub(crate) fn to_bytes(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    // They may overlap, and so be larger than the file that they come from.
    let bytes = tensors.iter().map(|(_, tensor)| tensor.nbytes());
    check_size(bytes.fold(0, |all, bytes| all.saturating_add(bytes as u64)))?;
    serialized(tensors)
}

fn serialized(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let invalid = |error: safetensors::SafeTensorError| {
        Error::new(ErrorKind::InvalidInput, error.to_string())
    };
    let views = tensors.iter().map(|(name, tensor)| {
        let dtype = dtype_of(tensor.element_type());
        let view = TensorView::new(dtype, tensor.shape().to_vec(), tensor.as_bytes()?);
        Ok((name.as_str(), view.map_err(|error| invalid(error).at(name))?))
    });
    serialize(views.collect::<Result<Vec<_>>>()?, None).map_err(invalid)
}

/// Writes tensors of any device to a file in the safetensors format, which appears whole or
/// not at all.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if `path` is something other than a regular file;
/// [`ErrorKind::Io`].
pub fn write_safetensors(path: impl AsRef<Path>, tensors: &[(String, Tensor)]) -> Result<()> {
    let on_host =
        |(name, tensor): &(String, Tensor)| Ok((name.clone(), tensor.to_device(Device::Cpu)?));
    let tensors = tensors.iter().map(on_host).collect::<Result<Vec<_>>>()?;
    // The crate's own way to a file goes through another temporary one.
    let contents = serialized(&tensors)?;
    crate::atomic_file::write(path.as_ref(), |temporary| {
        std::fs::write(temporary, contents)
            .map_err(|error| Error::new(ErrorKind::Io, "cannot write the file").because(error))
    })
}

/// The type of elements of a dtype of the format.
fn element_type_of(name: &str, dtype: safetensors::Dtype) -> Result<ElementType> {
    ElementType::ALL.iter().copied().find(|known| dtype_of(*known) == dtype).ok_or_else(|| {
        let message = format!("{name}: tensors of dtype {dtype} are not supported");
        Error::new(ErrorKind::Unsupported, message)
    })
}

fn dtype_of(element_type: ElementType) -> safetensors::Dtype {
    match element_type {
        ElementType::Bool => safetensors::Dtype::BOOL,
        ElementType::U8 => safetensors::Dtype::U8,
        ElementType::I8 => safetensors::Dtype::I8,
        ElementType::I16 => safetensors::Dtype::I16,
        ElementType::I32 => safetensors::Dtype::I32,
        ElementType::I64 => safetensors::Dtype::I64,
        ElementType::F16 => safetensors::Dtype::F16,
        ElementType::BF16 => safetensors::Dtype::BF16,
        ElementType::F32 => safetensors::Dtype::F32,
        ElementType::F64 => safetensors::Dtype::F64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_that_overlap_do_not_outgrow_their_file() {
        let tensor = Tensor::new(vec![0_u8; 40 << 20], [40 << 20]).unwrap();
        let named = |name: &str| (name.to_owned(), tensor.clone());
        let error = to_bytes(&[named("a"), named("b")]).unwrap_err();
        assert_eq!(error.message(), "found 83886080 bytes, expected at most 67108864");
    }
}
