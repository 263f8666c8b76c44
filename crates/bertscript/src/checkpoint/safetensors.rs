//! Files in the safetensors format, <https://github.com/huggingface/safetensors>.

use super::{check_size, open_file};
use crate::device::Device;
use crate::error::{Error, ErrorKind, Result};
use safetensors::tensor::{Metadata, TensorView, serialize};
use std::io::Read;
use std::path::Path;
use tch::{Kind, Tensor};
use torchscript::{MappedFile, dtype_name};

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
pub fn read_safetensors(path: impl AsRef<Path>) -> Result<Vec<(String, crate::tensor::Tensor)>> {
    let tensors = read(path.as_ref())?.into_iter();
    tensors.map(|(name, tensor)| Ok((name, tensor.try_into()?))).collect()
}

/// As [`read_safetensors`], for libtorch.
///
/// # Errors
/// [`ErrorKind::Io`], or [`ErrorKind::Checkpoint`] for a malformed or truncated
/// file; the message says what is wrong with it.
pub(super) fn read(path: &Path) -> Result<Vec<(String, Tensor)>> {
    let (mut file, length) = open_file(path)?;
    let (metadata, data_start) =
        read_header(path, &mut file, length).map_err(|error| error.at_path(path))?;
    let mapped = MappedFile::new(&file).map_err(|error| Error::from(error).at_path(path))?;

    let mut tensors = Vec::new();
    for (name, info) in metadata.tensors() {
        let kind = kind_of(info.dtype).ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!("{name}: tensors of dtype {} are not supported", info.dtype),
            )
            .at_path(path)
        })?;
        // The header was checked: offsets lie in the file, shapes match them.
        let shape = shape_of(&name, &info.shape).map_err(|error| error.at_path(path))?;
        let offset = data_start + info.data_offsets.0;
        let tensor = mapped
            .tensor(offset, &shape, kind)
            .map_err(|error| Error::from(error).at(format!("{}: {name}", path.display())))?;
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
        let kind = kind_of(view.dtype()).ok_or_else(|| {
            let message = format!("{name}: tensors of dtype {} are not supported", view.dtype());
            Error::new(ErrorKind::Unsupported, message)
        })?;
        let shape = shape_of(name, view.shape())?;
        let tensor = Tensor::f_from_data_size(view.data(), &shape, kind)?;
        check_bools(name, &tensor)?;
        Ok((name.to_owned(), tensor))
    });
    tensors.collect()
}

/// Refuses bools of other bytes than 0 and 1, which compilers take for what they like.
fn check_bools(name: &str, tensor: &Tensor) -> Result<()> {
    if tensor.kind() != Kind::Bool || tensor.numel() == 0 {
        return Ok(());
    }
    let largest = tensor.f_view_dtype(Kind::Uint8)?.f_max()?.f_int64_value(&[])?;
    if largest <= 1 {
        return Ok(());
    }
    let message = format!("{name}: found a bool of the byte {largest}, expected 0 or 1");
    Err(Error::new(ErrorKind::Checkpoint, message))
}

/// A shape as libtorch has it. Of an empty tensor the other sizes may be any.
fn shape_of(name: &str, shape: &[usize]) -> Result<Vec<i64>> {
    shape.iter().map(|&size| i64::try_from(size)).collect::<Result<_, _>>().map_err(|_| {
        Error::new(ErrorKind::Checkpoint, format!("{name}: the shape {shape:?} is not possible"))
    })
}

/// The contents of a file of these tensors.
pub(crate) fn to_bytes(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    // They may overlap, and so be larger than the file that they come from.
    let bytes =
        tensors.iter().map(|(_, tensor)| tensor.numel() * tensor.kind().elt_size_in_bytes());
    check_size(bytes.fold(0, |all, bytes| all.saturating_add(bytes as u64)))?;
    let owned = tensors.iter().map(Owned::new).collect::<Result<Vec<_>>>()?;
    serialize(views(&owned)?, None)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))
}

/// Writes tensors of any device to a file in the safetensors format, which appears whole or
/// not at all.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if `path` is something other than a regular file;
/// [`ErrorKind::Io`].
pub fn write_safetensors(
    path: impl AsRef<Path>,
    tensors: &[(String, crate::tensor::Tensor)],
) -> Result<()> {
    let on_host = |(name, tensor): &(String, crate::tensor::Tensor)| {
        Ok((name.clone(), tensor.to_device(Device::Cpu)?))
    };
    let tensors = tensors.iter().map(on_host).collect::<Result<Vec<_>>>()?;
    let views = tensors.iter().map(|(name, tensor)| {
        let invalid = |error: safetensors::SafeTensorError| {
            Error::new(ErrorKind::InvalidInput, error.to_string()).at(name)
        };
        let dtype = dtype_of(tensor.element_type().kind());
        let dtype = dtype.ok_or_else(|| Error::new(ErrorKind::Unsupported, "no dtype").at(name))?;
        let view = TensorView::new(dtype, tensor.shape().to_vec(), tensor.as_bytes()?);
        Ok((name.as_str(), view.map_err(invalid)?))
    });
    // The crate's own way to a file goes through another temporary one.
    let contents = serialize(views.collect::<Result<Vec<_>>>()?, None)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))?;
    crate::atomic_file::write(path.as_ref(), |temporary| {
        std::fs::write(temporary, contents)
            .map_err(|error| Error::new(ErrorKind::Io, "cannot write the file").because(error))
    })
}

/// A tensor as its bytes.
struct Owned<'a> {
    name: &'a str,
    dtype: safetensors::Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl<'a> Owned<'a> {
    fn new((name, tensor): &'a (String, Tensor)) -> Result<Self> {
        let dtype = dtype_of(tensor.kind()).ok_or_else(|| {
            let message = format!("a tensor of {} cannot be written", dtype_name(tensor.kind()));
            Error::new(ErrorKind::Unsupported, message).at(name)
        })?;
        let shape = tensor.size().iter().map(|&size| size as usize).collect();
        let tensor = tensor.f_to_device(tch::Device::Cpu)?.f_contiguous()?;
        let elements = tensor.numel();
        let mut bytes = vec![0; elements * tensor.kind().elt_size_in_bytes()];
        tensor.f_copy_data_u8(&mut bytes, elements)?;
        Ok(Self { name, dtype, shape, bytes })
    }
}

fn views<'a>(owned: &'a [Owned<'a>]) -> Result<Vec<(&'a str, TensorView<'a>)>> {
    let view = |tensor: &'a Owned<'a>| {
        TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes)
            .map(|view| (tensor.name, view))
            .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()).at(tensor.name))
    };
    owned.iter().map(view).collect()
}

const DTYPES: [(safetensors::Dtype, Kind); 10] = [
    (safetensors::Dtype::BOOL, Kind::Bool),
    (safetensors::Dtype::U8, Kind::Uint8),
    (safetensors::Dtype::I8, Kind::Int8),
    (safetensors::Dtype::I16, Kind::Int16),
    (safetensors::Dtype::I32, Kind::Int),
    (safetensors::Dtype::I64, Kind::Int64),
    (safetensors::Dtype::F16, Kind::Half),
    (safetensors::Dtype::BF16, Kind::BFloat16),
    (safetensors::Dtype::F32, Kind::Float),
    (safetensors::Dtype::F64, Kind::Double),
];

fn kind_of(dtype: safetensors::Dtype) -> Option<Kind> {
    DTYPES.iter().find(|(known, _)| *known == dtype).map(|(_, kind)| *kind)
}

fn dtype_of(kind: Kind) -> Option<safetensors::Dtype> {
    DTYPES.iter().find(|(_, known)| *known == kind).map(|(dtype, _)| *dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "calls libtorch")]
    fn tensors_that_overlap_do_not_outgrow_their_file() {
        let tensor = Tensor::zeros([40 << 20], (Kind::Uint8, tch::Device::Cpu));
        let named = |name: &str| (name.to_owned(), tensor.shallow_clone());
        let error = to_bytes(&[named("a"), named("b")]).unwrap_err();
        assert_eq!(error.message(), "found 83886080 bytes, expected at most 67108864");
    }
}
