//! Embeddings as they are stored, and the ranges that this takes.

use crate::output;
use crate::sink::{Row, Sink, Target};
use anyhow::{Context, bail, ensure};
use bertscript::{ElementType, EmbeddingPrecision, EmbeddingRanges, Embeddings, Quantizer};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The ranges of more dimensions than an embedding has.
const MAX_RANGES_BYTES: u64 = 64 << 20;

/// Of fewer texts sentence-transformers warns, too.
const SAMPLE: usize = 100;

/// What becomes of dense embeddings.
pub(crate) enum Results<'a> {
    /// They are stored.
    Stored { sink: Sink, quantizer: Quantizer },
    /// Their ranges are.
    Ranges { target: Target<'a>, found: Option<EmbeddingRanges>, texts: usize },
}

impl<'a> Results<'a> {
    /// Stores embeddings of `dim` dimensions.
    pub(crate) fn stored(
        target: Target<'a>,
        dim: usize,
        precision: EmbeddingPrecision,
        ranges: Option<&Path>,
    ) -> anyhow::Result<Self> {
        if precision.needs_ranges() && ranges.is_none() {
            bail!(
                "--embedding-precision {precision}: needs --ranges FILE, which `bertscript embed --write-ranges FILE` writes of a sample of texts"
            );
        }
        let ranges = ranges.map(|path| {
            let name = path.display().to_string();
            read(path, dim).with_context(|| format!("cannot read ranges of {name}"))
        });
        let quantizer = Quantizer::new(precision, ranges.transpose()?.as_ref())?;
        Ok(Self::Stored { sink: target.open(dim, precision)?, quantizer })
    }

    /// Finds their ranges.
    pub(crate) fn ranges(target: Target<'a>) -> Self {
        Self::Ranges { target, found: None, texts: 0 }
    }

    pub(crate) fn add(&mut self, embeddings: &Embeddings) -> anyhow::Result<()> {
        let dim = embeddings.width();
        match self {
            Self::Stored { sink, quantizer } => {
                let row = quantizer.precision().row_bytes(dim);
                let mut bytes = vec![0; quantizer.room_bytes(embeddings.len(), dim, row)?];
                quantizer.quantize(embeddings.as_slice(), dim, &mut bytes, row)?;
                sink.write(bytes.chunks_exact(row).map(Row::Dense))
            }
            Self::Ranges { found, texts, .. } => {
                *texts += embeddings.len();
                let ranges = EmbeddingRanges::of(embeddings.as_slice(), dim)?;
                match found {
                    Some(found) => Ok(found.merge(&ranges)?),
                    None => {
                        *found = Some(ranges);
                        Ok(())
                    }
                }
            }
        }
    }

    /// Completes the file, which now appears; ranges only if they are of all texts.
    pub(crate) fn finish(self, is_whole: bool) -> anyhow::Result<()> {
        let (target, found, texts) = match self {
            Self::Stored { sink, .. } => return sink.finish(),
            Self::Ranges { .. } if !is_whole => return Ok(()),
            Self::Ranges { target, found, texts } => (target, found, texts),
        };
        let Some(ranges) = found else { bail!("--write-ranges: found no texts, expected some") };
        if texts < SAMPLE {
            output::say(&format!(
                "found {texts} texts to take ranges of; those of {SAMPLE} or more suit others better"
            ));
        }
        let dim = ranges.dim();
        let mut sink = target.open(dim, EmbeddingPrecision::Float32)?;
        let bytes: Vec<u8> =
            ranges.as_slice().iter().flat_map(|bound| bound.to_le_bytes()).collect();
        sink.write(bytes.chunks_exact(4 * dim).map(Row::Dense))?;
        sink.finish()
    }
}

/// Reads ranges of `dim` dimensions: float32 `[2, D]`, of a .npy file, or the only tensor of a
/// .safetensors file.
fn read(path: &Path, dim: usize) -> anyhow::Result<EmbeddingRanges> {
    let check = |shape: &[usize]| match *shape {
        [2, found] if found == dim => Ok(()),
        [2, found] => bail!("found ranges of {found}, expected {dim} dimensions"),
        _ => bail!("found shape {shape:?}, expected [2, D]"),
    };
    Ok(match path.extension().and_then(|ending| ending.to_str()) {
        Some("npy") => {
            let (shape, bounds) = read_npy(File::open(path)?)?;
            check(&shape)?;
            EmbeddingRanges::new(&bounds)?
        }
        Some("safetensors") => {
            let tensors = bertscript::read_safetensors(path)?;
            let [(_, tensor)] = &tensors[..] else {
                bail!("found {} tensors, expected one", tensors.len())
            };
            let found = tensor.element_type();
            ensure!(found == ElementType::F32, "found dtype {found}, expected float32");
            check(tensor.shape())?;
            EmbeddingRanges::new(tensor.as_slice()?)?
        }
        _ => bail!("unknown ending, expected .npy or .safetensors"),
    })
}

/// The shape and the values of a file of NumPy.
///
/// Source: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>
fn read_npy(file: impl Read) -> anyhow::Result<(Vec<usize>, Vec<f32>)> {
    let mut bytes = Vec::new();
    file.take(MAX_RANGES_BYTES + 1).read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= MAX_RANGES_BYTES,
        "found more than {MAX_RANGES_BYTES} bytes, expected at most that"
    );
    let malformed = || anyhow::anyhow!("found no array of NumPy, format 1, 2 or 3");
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or_else(malformed)?;
    let (length, rest) = match rest {
        [1, _, a, b, rest @ ..] => (u16::from_le_bytes([*a, *b]).into(), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        _ => return Err(malformed()),
    };
    let (header, values) = rest.split_at_checked(length).ok_or_else(malformed)?;
    let header = std::str::from_utf8(header).map_err(|_| malformed())?;
    // A dictionary of Python's, in its own notation.
    let header: String = header.split_whitespace().collect();
    let after = |key: &str| header.split_once(&format!("'{key}':")).map(|(_, value)| value);
    let dtype = after("descr").and_then(|value| value.split('\'').nth(1)).ok_or_else(malformed)?;
    ensure!(dtype == "<f4", "found dtype {dtype}, expected <f4, float32");
    let order = after("fortran_order").ok_or_else(malformed)?;
    ensure!(order.starts_with("False"), "found Fortran order, expected C order");
    let shape = after("shape").and_then(|value| value.strip_prefix('(')?.split_once(')'));
    let shape = shape.ok_or_else(malformed)?.0.split(',').filter(|size| !size.is_empty());
    let shape: Vec<usize> =
        shape.map(str::parse).collect::<Result<_, _>>().map_err(|_| malformed())?;
    let count = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size));
    ensure!(
        count.and_then(|count| count.checked_mul(4)) == Some(values.len()),
        "found {} bytes of values, expected those of shape {shape:?}",
        values.len()
    );
    let values = values.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    Ok((shape, values.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(version: u8, header: &str, values: &[f32]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY".to_vec();
        bytes.extend([version, 0]);
        match version {
            1 => bytes.extend((header.len() as u16).to_le_bytes()),
            _ => bytes.extend((header.len() as u32).to_le_bytes()),
        }
        bytes.extend(header.as_bytes());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        bytes
    }

    #[test]
    fn arrays_of_every_format_are_read() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), } \n";
        for version in 1..=3 {
            let found = read_npy(&npy(version, header, &[1., 2.])[..]).unwrap();
            assert_eq!(found, (vec![2, 1], vec![1., 2.]));
        }
        let header = "{'shape': (2,), 'fortran_order': False, 'descr': '<f4'}";
        assert_eq!(read_npy(&npy(1, header, &[1., 2.])[..]).unwrap().0, [2]);
    }

    #[test]
    fn what_is_no_array_is_refused() {
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1)}";
        let whole = npy(1, good, &[1., 2.]);
        for length in 0..whole.len() {
            assert!(read_npy(&whole[..length]).is_err(), "the first {length} bytes");
        }
        for (bad, expected) in [
            (good.replace("<f4", "<f8"), "dtype <f8"),
            (good.replace("False", "True"), "Fortran order"),
            (good.replace("(2, 1)", "(2, 9223372036854775807)"), "bytes of values"),
            (good.replace("(2, 1)", "(2, -1)"), "no array"),
            (good.replace("(2, 1)", "2"), "no array"),
            (good.replace("descr", "dtype"), "no array"),
        ] {
            let error = read_npy(&npy(1, &bad, &[1., 2.])[..]).unwrap_err().to_string();
            assert!(error.contains(expected), "{bad}: {error}");
        }
        assert!(read_npy(&npy(4, good, &[1., 2.])[..]).is_err());
        assert!(read_npy(std::io::repeat(b'a')).is_err());
    }
}
