//! Embeddings as they are stored, in fewer bytes.
//!
//! Source: `quantize_embeddings`, <https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/util/quantization.py>

use super::EmbeddingRanges;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::collect;
use half::f16;
use std::fmt;
use std::str::FromStr;

/// The format that embeddings are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EmbeddingPrecision {
    /// Four bytes for each dimension.
    #[default]
    Float32,
    /// Two bytes for each dimension, rounded to the nearest, ties to even.
    Float16,
    /// One byte for each dimension: the part of its range, of 256 equal ones, from -128 to 127.
    Int8,
    /// The same from 0 to 255.
    Uint8,
    /// A bit for each dimension, 1 if the value is positive, eight in a byte from the highest
    /// bit down; the rest of the last byte is 0. Of each byte 128 is subtracted: an int8.
    Binary,
    /// The same bits as uint8.
    Ubinary,
}

impl EmbeddingPrecision {
    /// Every precision.
    pub const ALL: [Self; 6] =
        [Self::Float32, Self::Float16, Self::Int8, Self::Uint8, Self::Binary, Self::Ubinary];

    /// The name that sentence-transformers has for it, and NumPy for float16.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float16 => "float16",
            Self::Int8 => "int8",
            Self::Uint8 => "uint8",
            Self::Binary => "binary",
            Self::Ubinary => "ubinary",
        }
    }

    /// Whether the range of each dimension is part of it.
    pub fn needs_ranges(self) -> bool {
        matches!(self, Self::Int8 | Self::Uint8)
    }

    /// The number of values that an embedding of so many dimensions is stored in.
    pub fn row_values(self, dim: usize) -> usize {
        match self {
            Self::Binary | Self::Ubinary => dim.div_ceil(8),
            _ => dim,
        }
    }

    /// The number of bytes of each of them.
    pub fn value_bytes(self) -> usize {
        match self {
            Self::Float32 => 4,
            Self::Float16 => 2,
            _ => 1,
        }
    }

    /// The number of bytes that an embedding of so many dimensions is stored in.
    pub fn row_bytes(self, dim: usize) -> usize {
        self.row_values(dim).saturating_mul(self.value_bytes())
    }

    /// The number of bytes that so many rows of `dim` dimensions take, where one starts
    /// `row_stride` bytes after the one before it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the stride is less than a row, or memory cannot hold so
    /// many.
    pub fn room_bytes(self, rows: usize, dim: usize, row_stride: usize) -> Result<usize> {
        let invalid = |place: &str, message: String| {
            Err(Error::new(ErrorKind::InvalidInput, message).at(place))
        };
        let row = self.row_bytes(dim);
        if row_stride < row {
            let message = format!("found {row_stride} bytes, expected at least {row}");
            return invalid("row_stride", message);
        }
        let Some(before) = rows.checked_sub(1) else { return Ok(0) };
        let bytes = before.checked_mul(row_stride).and_then(|bytes| bytes.checked_add(row));
        match bytes.filter(|bytes| *bytes <= isize::MAX as usize) {
            Some(bytes) => Ok(bytes),
            None => invalid("rows", format!("found {rows}, more than memory can hold")),
        }
    }
}

impl fmt::Display for EmbeddingPrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for EmbeddingPrecision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|precision| precision.name() == name).ok_or_else(|| {
            let message = format!(
                "unknown precision {name:?}, expected float32, float16, int8, uint8, binary or ubinary"
            );
            Error::new(ErrorKind::InvalidInput, message)
        })
    }
}

/// Writes embeddings in the format that they are stored in.
#[derive(Debug, Clone, Default)]
pub struct Quantizer {
    precision: EmbeddingPrecision,
    /// Of each dimension where its range starts, and the 255th part of it; empty for
    /// precisions without ranges.
    scales: Vec<(f32, f32)>,
}

impl Quantizer {
    /// A quantizer to a precision. `ranges` are those of each dimension, for `int8` and `uint8`:
    /// values outside of them become the nearest that is inside.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if there are no ranges and the precision needs them, or
    /// there are and it does not.
    pub fn new(precision: EmbeddingPrecision, ranges: Option<&EmbeddingRanges>) -> Result<Self> {
        let (found, expected) = match (precision.needs_ranges(), ranges) {
            (false, None) => return Ok(Self { precision, scales: Vec::new() }),
            (true, Some(ranges)) => {
                let scales = ranges.min().iter().zip(ranges.max()).map(|(min, max)| {
                    let step = (max - min) / 255.;
                    (*min, if step == 0. { 1. } else { step })
                });
                return Ok(Self { precision, scales: collect(scales)? });
            }
            (true, None) => ("none", "the range of each dimension"),
            (false, Some(_)) => ("some", "none"),
        };
        let message = format!("found {found}, expected {expected} for {precision}");
        Err(Error::new(ErrorKind::InvalidInput, message).at("ranges"))
    }

    /// The precision.
    pub fn precision(&self) -> EmbeddingPrecision {
        self.precision
    }

    /// Writes embeddings of `dim` dimensions, row after row, to `room`, where a row starts
    /// `row_stride` bytes after the one before it; values of several bytes are
    /// little-endian, and bytes between rows stay as they are. NaN becomes 0 in `int8`
    /// and `uint8`, and is not positive in `binary` and `ubinary`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the embeddings are no rows of `dim`, the ranges have
    /// another dimension, or the room is not what [`Self::room_bytes`] says.
    pub fn quantize(
        &self,
        embeddings: &[f32],
        dim: usize,
        room: &mut [u8],
        row_stride: usize,
    ) -> Result<()> {
        if dim == 0 || !embeddings.len().is_multiple_of(dim) {
            let message = format!("found {} values, expected rows of {dim}", embeddings.len());
            return Err(Error::new(ErrorKind::InvalidInput, message).at("embeddings"));
        }
        self.check_room(embeddings.len() / dim, dim, room.len(), row_stride)?;
        let rows = room.chunks_mut(row_stride).map(|row| &mut row[..self.precision.row_bytes(dim)]);
        embeddings.chunks_exact(dim).zip(rows).for_each(|(values, row)| self.row(values, row));
        Ok(())
    }

    /// [`EmbeddingPrecision::room_bytes`] of the precision.
    ///
    /// # Errors
    /// Those of that; [`ErrorKind::InvalidInput`] if the ranges have another dimension.
    pub fn room_bytes(&self, rows: usize, dim: usize, row_stride: usize) -> Result<usize> {
        let ranges = self.scales.len();
        if self.precision.needs_ranges() && ranges != dim {
            let message = format!("found those of {ranges}, expected {dim} dimensions");
            return Err(Error::new(ErrorKind::InvalidInput, message).at("ranges"));
        }
        self.precision.room_bytes(rows, dim, row_stride)
    }

    /// Checks that `room` bytes are what the rows take.
    pub(crate) fn check_room(
        &self,
        rows: usize,
        dim: usize,
        room: usize,
        row_stride: usize,
    ) -> Result<()> {
        let needed = self.room_bytes(rows, dim, row_stride)?;
        if room != needed {
            let message = format!("found {room} bytes, expected {needed}");
            return Err(Error::new(ErrorKind::InvalidInput, message).at("room"));
        }
        Ok(())
    }

    fn row(&self, values: &[f32], row: &mut [u8]) {
        match self.precision {
            EmbeddingPrecision::Float32 => {
                let bytes = row.as_chunks_mut().0.iter_mut();
                bytes.zip(values).for_each(|(bytes, value)| *bytes = value.to_le_bytes());
            }
            EmbeddingPrecision::Float16 => {
                let bytes = row.as_chunks_mut().0.iter_mut();
                let halves = values.iter().map(|value| f16::from_f32(*value).to_le_bytes());
                bytes.zip(halves).for_each(|(bytes, half)| *bytes = half);
            }
            // In int8, 128 less: the highest bit is the other one.
            EmbeddingPrecision::Int8 => self.integers(values, row, 0x80),
            EmbeddingPrecision::Uint8 => self.integers(values, row, 0),
            EmbeddingPrecision::Binary => bits(values, row, 0x80),
            EmbeddingPrecision::Ubinary => bits(values, row, 0),
        }
    }

    fn integers(&self, values: &[f32], row: &mut [u8], flipped: u8) {
        for ((value, (start, step)), byte) in values.iter().zip(&self.scales).zip(row) {
            let part = (value - start) / step;
            // The conversion rounds to zero and saturates, which is to round down and clip to
            // 0 to 255. Of NaN, upstream leaves it to C, which makes 0 of it on x86-64.
            *byte = if part.is_nan() { 0 } else { part as u8 ^ flipped };
        }
    }
}

fn bits(values: &[f32], row: &mut [u8], flipped: u8) {
    for (values, byte) in values.chunks(8).zip(row) {
        let bits = values.iter().zip((0..8).rev());
        *byte = bits.fold(flipped, |byte, (value, bit)| byte ^ (u8::from(*value > 0.) << bit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EmbeddingPrecision::{Binary, Float16, Float32, Int8, Ubinary, Uint8};

    fn quantized(
        precision: EmbeddingPrecision,
        ranges: Option<&[f32]>,
        embeddings: &[f32],
        dim: usize,
    ) -> Result<Vec<u8>> {
        let ranges = ranges.map(EmbeddingRanges::new).transpose()?;
        let quantizer = Quantizer::new(precision, ranges.as_ref())?;
        let (rows, stride) = (embeddings.len() / dim.max(1), precision.row_bytes(dim) + 3);
        let mut room = vec![9; quantizer.room_bytes(rows, dim, stride)?];
        quantizer.quantize(embeddings, dim, &mut room, stride)?;
        Ok(room)
    }

    #[test]
    fn rows_are_a_stride_apart() {
        let found = quantized(Float32, None, &[1., -2.], 1).unwrap();
        assert_eq!(found, [0, 0, 128, 63, 9, 9, 9, 0, 0, 0, 192]);
        // The nearest of 2049 is a tie, and 65520 the first that is infinite.
        let found = quantized(Float16, None, &[2049., 65519., 65520.], 3).unwrap();
        assert_eq!(found, [0x00, 0x68, 0xff, 0x7b, 0x00, 0x7c]);
    }

    #[test]
    fn integers_are_parts_of_the_range() {
        // 255 parts of 1, and a dimension without a range.
        let ranges = [0., 5., 255., 5.];
        let embeddings = [0., 5., 254.9, 5.9, 255., 6., -1., f32::NAN, 9e9, f32::INFINITY];
        let found = quantized(Uint8, Some(&ranges), &embeddings, 2).unwrap();
        let found: Vec<_> = found.chunks(5).map(|row| [row[0], row[1]]).collect();
        assert_eq!(found, [[0, 0], [254, 0], [255, 1], [0, 0], [255, 255]]);
        let found = quantized(Int8, Some(&ranges), &embeddings, 2).unwrap();
        let found: Vec<_> = found.chunks(5).map(|row| [row[0] as i8, row[1] as i8]).collect();
        assert_eq!(found, [[-128, -128], [126, -128], [127, -127], [-128, 0], [127, 127]]);
    }

    #[test]
    fn bits_are_signs() {
        let embeddings = [1., 0., -0., -1., f32::NAN, 1e-45, 1., -1., 1.];
        assert_eq!(quantized(Ubinary, None, &embeddings, 9).unwrap(), [0b1000_0110, 0b1000_0000]);
        assert_eq!(quantized(Binary, None, &embeddings, 9).unwrap(), [0b0000_0110, 0b0000_0000]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let of_one = EmbeddingRanges::new(&[0., 1.]).unwrap();
        for precision in EmbeddingPrecision::ALL {
            assert_eq!(precision.name().parse::<EmbeddingPrecision>().unwrap(), precision);
            let needs = precision.needs_ranges();
            assert_eq!(Quantizer::new(precision, Some(&of_one)).is_ok(), needs);
            assert_eq!(Quantizer::new(precision, None).is_err(), needs);
        }
        let quantizer = Quantizer::new(Uint8, Some(&of_one)).unwrap();
        let error =
            |rows, dim, stride| quantizer.room_bytes(rows, dim, stride).unwrap_err().to_string();
        assert_eq!(error(1, 2, 2), "ranges: found those of 1, expected 2 dimensions");
        assert_eq!(error(1, 1, 0), "row_stride: found 0 bytes, expected at least 1");
        assert!(error(3, 1, usize::MAX / 2 + 1).starts_with("rows: found 3"));
        assert!(error(2, 1, usize::MAX / 2 + 1).starts_with("rows: found 2"));
        assert_eq!(quantizer.room_bytes(0, 1, 1).unwrap(), 0);
        assert!(quantizer.quantize(&[1.; 3], 1, &mut [0; 4], 1).is_err());
        assert!(quantizer.quantize(&[1.; 3], 1, &mut [0; 2], 1).is_err());
        assert!(quantizer.quantize(&[1.; 3], 0, &mut [0; 3], 1).is_err());
        assert!(Quantizer::default().quantize(&[1.; 3], 2, &mut [0; 12], 8).is_err());
        assert!("float64".parse::<EmbeddingPrecision>().is_err());
    }
}
