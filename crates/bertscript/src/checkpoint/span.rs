//! Where the elements of a pickle's tensors are in their file.

use super::pickle::{Storage, TensorRecord};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{ElementType, Tensor};
use bertscript_process::MappedFile;
use std::collections::HashMap;
use std::sync::Arc;

/// The elements of a tensor in a file, within the bounds of its storage.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TensorSpan {
    pub(crate) element_type: ElementType,
    pub(crate) size: Vec<i64>,
    pub(crate) stride: Vec<i64>,
    /// The byte offset in the file of the first element.
    pub(crate) offset: usize,
    /// Number of elements from the first to the last in the file; 0 of an empty tensor.
    pub(crate) extent: i64,
}

impl TensorSpan {
    /// Checks a tensor against its storage, which has `bytes` bytes at `start`, and that
    /// against the file.
    ///
    /// # Errors
    /// [`ErrorKind::Checkpoint`] for what leaves either.
    pub(crate) fn new(
        record: &TensorRecord,
        (start, bytes): (u64, u64),
        file_length: u64,
    ) -> Result<Self> {
        let TensorRecord { storage, offset, size, stride } = record;
        let Storage { element_type, key, numel, view } = storage;
        if start.checked_add(bytes).is_none_or(|end| end > file_length) {
            let message = format!(
                "truncated: storage {key} has {bytes} bytes at {start}, but the file only {file_length}"
            );
            return Err(malformed(message));
        }
        let (view_offset, numel) = view.unwrap_or((0, *numel));
        let item = element_type.size() as u64;
        let invalid = || {
            malformed(format!(
                "size {size:?}, stride {stride:?} at {offset} leaves a storage of {numel}"
            ))
        };
        // The storage's own bounds first, then the tensor's in it.
        let end = view_offset.checked_add(numel).and_then(|end| u64::try_from(end).ok());
        let end = end.and_then(|end| end.checked_mul(item)).ok_or_else(invalid)?;
        if view_offset < 0 || numel < 0 || end > bytes || size.len() != stride.len() {
            let message = format!("storage {key} has {bytes} bytes, expected at least {end}");
            return Err(malformed(message));
        }
        if *offset < 0 || size.iter().chain(stride).any(|value| *value < 0) {
            return Err(invalid());
        }
        let span = |offset, extent| Self {
            element_type: *element_type,
            size: size.clone(),
            stride: stride.clone(),
            offset,
            extent,
        };
        if size.contains(&0) {
            return Ok(span(usize::try_from(start).map_err(|_| invalid())?, 0));
        }
        let last = size.iter().zip(stride).try_fold(*offset, |last, (size, stride)| {
            last.checked_add((size - 1).checked_mul(*stride)?)
        });
        let last = last.filter(|last| *last < numel).ok_or_else(invalid)?;
        let first = offset.checked_add(view_offset).and_then(|first| u64::try_from(first).ok());
        let first = first.and_then(|first| first.checked_mul(item)?.checked_add(start));
        let first = first.and_then(|first| usize::try_from(first).ok()).ok_or_else(invalid)?;
        Ok(span(first, last - offset + 1))
    }

    /// Number of elements, of which several may be the same in the file; none if they
    /// are too many to count.
    pub(crate) fn numel(&self) -> Option<u64> {
        self.size.iter().try_fold(1_u64, |numel, size| numel.checked_mul(*size as u64))
    }

    /// Whether the tensor can be in the mapped file, without a copy.
    pub(crate) fn is_mappable(&self) -> bool {
        self.is_contiguous() && self.offset.is_multiple_of(self.element_type.size())
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1i64;
        self.size.iter().zip(&self.stride).rev().all(|(size, stride)| {
            let fits = *size == 1 || *stride == expected;
            expected = expected.saturating_mul(*size);
            fits
        })
    }

    /// The tensor: in the mapped file, or copied if it cannot be.
    pub(crate) fn tensor(&self, file: &Arc<MappedFile>) -> Result<Tensor> {
        let sizes = |sizes: &[i64]| sizes.iter().map(|size| *size as usize).collect::<Vec<_>>();
        let (size, stride, element_type) =
            (sizes(&self.size), sizes(&self.stride), self.element_type);
        if self.extent == 0 {
            return Tensor::copied(element_type, size, &[]);
        }
        let bytes = self.extent as usize * element_type.size();
        let range = self.offset..self.offset + bytes;
        match self.is_contiguous() {
            true => Tensor::mapped(element_type, size, file, range),
            false => Tensor::mapped_strided(element_type, size, &stride, (file, range)),
        }
    }
}

/// The tensors of a file, by name. A copy is made once for each span.
pub(crate) fn tensors<'a>(
    spans: impl IntoIterator<Item = (&'a str, &'a TensorSpan)>,
    file: &Arc<MappedFile>,
) -> Result<Vec<(String, Tensor)>> {
    let mut copies = HashMap::new();
    let named = spans.into_iter().map(|(name, span)| {
        let tensor = match copies.get(span) {
            Some(copy) => Tensor::clone(copy),
            None => span.tensor(file).map_err(|error| error.at(name))?,
        };
        if !span.is_mappable() {
            copies.insert(span, tensor.clone());
        }
        Ok((name.to_owned(), tensor))
    });
    named.collect()
}

/// How many bytes of a file may be copied. Its tensors may overlap, and so be many times
/// as large as the file itself.
#[derive(Debug)]
pub(crate) struct CopyLimit {
    length: u64,
    left: u64,
}

impl CopyLimit {
    /// The limit of a file of `length` bytes, which is that length.
    pub(crate) fn new(length: u64) -> Self {
        Self { length, left: length }
    }

    /// Counts a tensor, unless it can be in the mapped file.
    pub(crate) fn count(&mut self, span: &TensorSpan) -> Result<()> {
        if span.extent == 0 || span.is_mappable() {
            return Ok(());
        }
        let item = span.element_type.size() as u64;
        let bytes = span.numel().and_then(|numel| numel.checked_mul(item));
        self.left = bytes.and_then(|bytes| self.left.checked_sub(bytes)).ok_or_else(|| {
            let (size, length) = (&span.size, self.length);
            malformed(format!(
                "size {size:?}: the tensors that are not contiguous are larger than the file of {length} bytes"
            ))
        })?;
        Ok(())
    }
}

fn malformed(message: String) -> Error {
    Error::new(ErrorKind::Checkpoint, message)
}
