//! What tensors are made over, and copies.

use super::{HostMemory, Memory, Tensor};
use crate::device::Dtype;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::filled;
use crate::tensor::ElementType;
use bertscript_process::MappedFile;
use half::slice::HalfFloatSliceExt;
use std::ops::Range;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Bytes that are aligned for every type.
struct Words {
    words: Vec<u64>,
    length: usize,
}

impl Words {
    fn new(length: usize, fill: impl FnOnce(&mut [u8])) -> Result<Self> {
        let mut words = filled(length.div_ceil(size_of::<u64>()), 0_u64)?;
        fill(&mut words.as_mut_bytes()[..length]);
        Ok(Self { words, length })
    }
}

impl AsRef<[u8]> for Words {
    fn as_ref(&self) -> &[u8] {
        &self.words.as_bytes()[..self.length]
    }
}

/// A part of a mapped file.
struct Part {
    file: Arc<MappedFile>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.file.bytes()[self.range.clone()]
    }
}

/// The error of elements that were within a file when its length was asked.
fn left(range: &Range<usize>, file: &MappedFile) -> Error {
    let (Range { start, end }, length) = (range, file.bytes().len());
    let message = format!("found {length} bytes, expected a tensor at {start} to {end}");
    Error::new(ErrorKind::Io, message)
}

impl Tensor {
    fn over(element_type: ElementType, shape: Vec<usize>, memory: HostMemory) -> Self {
        Self { element_type, shape, memory: Memory::Host(memory) }
    }

    /// A tensor of a copy of bytes, which are as many as the shape takes.
    pub(crate) fn copied(
        element_type: ElementType,
        shape: Vec<usize>,
        bytes: &[u8],
    ) -> Result<Self> {
        let words = Words::new(bytes.len(), |to| to.copy_from_slice(bytes))?;
        Ok(Self::over(element_type, shape, Arc::new(words)))
    }

    /// A tensor of bytes of a mapped file; of a copy, if they are not aligned.
    pub(crate) fn mapped(
        element_type: ElementType,
        shape: Vec<usize>,
        file: &Arc<MappedFile>,
        range: Range<usize>,
    ) -> Result<Self> {
        let bytes = file.bytes().get(range.clone()).ok_or_else(|| left(&range, file))?;
        if !bytes.as_ptr().addr().is_multiple_of(element_type.size()) {
            return Self::copied(element_type, shape, bytes);
        }
        Ok(Self::over(element_type, shape, Arc::new(Part { file: Arc::clone(file), range })))
    }

    /// A copy of elements of a mapped file that lie `strides` apart in each dimension, the first
    /// one first.
    pub(crate) fn mapped_strided(
        element_type: ElementType,
        shape: Vec<usize>,
        strides: &[usize],
        (file, range): (&MappedFile, Range<usize>),
    ) -> Result<Self> {
        let bytes = file.bytes().get(range.clone()).ok_or_else(|| left(&range, file))?;
        Self::gather(element_type, shape, strides, bytes)
    }

    /// A copy of elements that lie `strides` apart in each dimension, the first one first.
    pub(super) fn gather(
        element_type: ElementType,
        shape: Vec<usize>,
        strides: &[usize],
        bytes: &[u8],
    ) -> Result<Self> {
        let size = element_type.size();
        let length = shape.iter().product::<usize>() * size;
        let words = Words::new(length, |to| {
            let mut index = vec![0; shape.len()];
            for to in to.chunks_exact_mut(size) {
                let from: usize =
                    index.iter().zip(strides).map(|(index, stride)| index * stride).sum();
                to.copy_from_slice(&bytes[from * size..][..size]);
                // The next index, row-major.
                for (index, size) in index.iter_mut().zip(&shape).rev() {
                    *index += 1;
                    if *index < *size {
                        break;
                    }
                    *index = 0;
                }
            }
        })?;
        Ok(Self::over(element_type, shape, Arc::new(words)))
    }

    /// A copy of some of the first dimension.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Result<Self> {
        let mut shape = self.shape.clone();
        let row = self.nbytes() / shape[0].max(1);
        shape[0] = rows.len();
        Self::copied(self.element_type, shape, &self.as_bytes()?[rows.start * row..rows.end * row])
    }

    /// The same elements in memory of their own.
    pub(crate) fn deep_copy(&self) -> Result<Self> {
        Self::copied(self.element_type, self.shape.clone(), self.as_bytes()?)
    }

    /// Where the elements are, of a tensor that has some.
    pub(crate) fn address(&self) -> Option<usize> {
        let address = match &self.memory {
            Memory::Host(memory) => (**memory).as_ref().as_ptr().addr(),
            Memory::Device(memory) => memory.address(),
        };
        (self.numel() > 0).then_some(address)
    }

    /// The same elements, rounded to a dtype; the same memory where they are already.
    pub(crate) fn to_dtype(&self, dtype: Dtype) -> Result<Self> {
        if self.element_type == dtype.element_type() {
            return Ok(self.clone());
        }
        if let Memory::Device(_) = &self.memory {
            return self.cast_on_device(dtype);
        }
        let shape = self.shape.clone();
        match dtype {
            Dtype::F32 => self.to_f32(),
            // By float32, as libtorch does it.
            Dtype::F16 => {
                let mut values = filled(self.numel(), half::f16::ZERO)?;
                values.convert_from_f32_slice(self.to_f32()?.as_slice()?);
                Self::new(values, shape)
            }
            Dtype::BF16 => {
                let mut values = filled(self.numel(), half::bf16::ZERO)?;
                values.convert_from_f32_slice(self.to_f32()?.as_slice()?);
                Self::new(values, shape)
            }
        }
    }
}
