//! Where embeddings go: JSON lines, NumPy or safetensors, row by row; sparse ones as JSON
//! lines or for SciPy.

use crate::npz::Csr;
use crate::output;
use crate::stream::STDOUT;
use anyhow::{Context, bail};
use bertscript::{EmbeddingPrecision, WholeFile, check_output};
use half::f16;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Stdout, Write};
use std::path::Path;

/// Room for the longest header; both formats allow blanks in it.
const HEADER: usize = 256;

/// An embedding.
#[derive(Clone, Copy)]
pub(crate) enum Row<'a> {
    /// The bytes that are stored.
    Dense(&'a [u8]),
    Sparse {
        indices: &'a [u32],
        values: &'a [f32],
    },
}

/// A destination of embeddings, of any count, as they are stored.
pub(crate) struct Sink {
    output: Output,
    precision: EmbeddingPrecision,
    /// What a person calls it.
    name: String,
}

enum Output {
    /// A line for each row, written as soon as it is known.
    Stdout(Stdout),
    /// The same, to a file; and how long its whole lines are.
    Lines(File, u64),
    /// A binary file, which appears when it is finished.
    Binary { file: BufWriter<WholeFile>, format: Format, rows: u64, dim: usize },
    /// A file of sparse rows, which appears when it is finished.
    Npz { file: BufWriter<WholeFile>, rows: Csr },
    /// A binary file that could not be written: it will not appear.
    Lost,
}

/// A binary format: a header, then all values.
#[derive(Clone, Copy)]
pub(crate) enum Format {
    Npy,
    Safetensors,
}

/// Where embeddings are to go.
pub(crate) enum Target<'a> {
    Stdout,
    Lines(&'a Path),
    Binary(&'a Path, Format),
    Npz(&'a Path),
}

impl<'a> Target<'a> {
    /// Chooses by the ending of the path. Without a path, and for `-` and /dev/stdout, it
    /// is standard output, which gets JSON lines.
    pub(crate) fn new(path: Option<&'a Path>) -> anyhow::Result<Self> {
        let is_stdout = |path: &Path| path == Path::new("-") || path == Path::new(STDOUT);
        let Some(path) = path.filter(|path| !is_stdout(path)) else { return Ok(Self::Stdout) };
        Ok(match path.extension().and_then(|ending| ending.to_str()) {
            Some("npy") => Self::Binary(path, Format::Npy),
            Some("safetensors") => Self::Binary(path, Format::Safetensors),
            Some("npz") => Self::Npz(path),
            Some("jsonl") => Self::Lines(path),
            _ => {
                let name = path.display();
                bail!("{name}: unknown ending, expected .npy, .npz, .safetensors or .jsonl")
            }
        })
    }

    /// A binary file, whatever else could be written.
    pub(crate) fn binary(path: &'a Path) -> anyhow::Result<Self> {
        match Self::new(Some(path)) {
            Ok(target @ Self::Binary(..)) => Ok(target),
            _ => bail!("{}: unknown ending, expected .npy or .safetensors", path.display()),
        }
    }

    /// Checks that its form is one of dense or of sparse embeddings.
    pub(crate) fn check_form(&self, is_sparse: bool) -> anyhow::Result<()> {
        match self {
            Self::Binary(path, _) if is_sparse => {
                bail!("{}: the embeddings are sparse, expected .npz or .jsonl", path.display())
            }
            Self::Npz(path) if !is_sparse => bail!(
                "{}: the embeddings are dense, expected .npy, .safetensors or .jsonl",
                path.display()
            ),
            _ => Ok(()),
        }
    }

    /// Checks that it can be written, and is none of `inputs`.
    pub(crate) fn check<'p>(&self, inputs: impl Iterator<Item = &'p Path>) -> anyhow::Result<()> {
        match self {
            Self::Stdout => output::require_stdout(),
            Self::Lines(path) | Self::Binary(path, _) | Self::Npz(path) => {
                Ok(check_output(path, inputs)?)
            }
        }
    }

    /// Opens it, for embeddings of `dim` dimensions; dense ones are stored in this precision.
    pub(crate) fn open(self, dim: usize, precision: EmbeddingPrecision) -> anyhow::Result<Sink> {
        let (output, name) = match self {
            Self::Stdout => (Output::Stdout(io::stdout()), "standard output".to_owned()),
            Self::Lines(path) => {
                let name = path.display().to_string();
                let file = open_lines(path).with_context(|| format!("cannot write {name}"))?;
                (Output::Lines(file, 0), name)
            }
            Self::Binary(path, format) => {
                let name = path.display().to_string();
                let mut file = BufWriter::with_capacity(1 << 16, WholeFile::create(path)?);
                let header = file.write_all(&format.header(0, dim, precision));
                header.with_context(|| format!("cannot write {name}"))?;
                (Output::Binary { file, format, rows: 0, dim }, name)
            }
            Self::Npz(path) => {
                let file = BufWriter::with_capacity(1 << 16, WholeFile::create(path)?);
                (Output::Npz { file, rows: Csr::new(dim as u64) }, path.display().to_string())
            }
        };
        Ok(Sink { output, precision, name })
    }
}

/// Opens a file, and empties it: only then, since that fails for all but regular files.
fn open_lines(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    file.set_len(0)?;
    Ok(file)
}

impl Sink {
    /// Appends rows. Of a binary file that cannot be written nothing will appear; of
    /// lines, those before stay.
    pub(crate) fn write<'a>(&mut self, rows: impl Iterator<Item = Row<'a>>) -> anyhow::Result<()> {
        let written = self.output.write(rows, self.precision);
        let appears_whole = matches!(self.output, Output::Binary { .. } | Output::Npz { .. });
        if written.is_err() && appears_whole {
            self.output = Output::Lost;
        }
        written.with_context(|| format!("cannot write {}", self.name))
    }

    /// Completes the file, which now appears.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let complete = || {
            let whole = |file: BufWriter<WholeFile>| {
                file.into_inner().map_err(io::IntoInnerError::into_error)
            };
            Ok::<_, io::Error>(match self.output {
                Output::Binary { file, format, rows, dim } => {
                    let mut file = whole(file)?;
                    file.seek(SeekFrom::Start(0))?;
                    file.write_all(&format.header(rows, dim, self.precision))?;
                    Some(file)
                }
                Output::Npz { file, rows } => Some(whole(rows.write(file)?)?),
                Output::Stdout(_) | Output::Lines(..) | Output::Lost => None,
            })
        };
        let file = complete().with_context(|| format!("cannot write {}", self.name))?;
        Ok(file.map_or(Ok(()), WholeFile::finish)?)
    }
}

impl Output {
    fn write<'a>(
        &mut self,
        mut rows: impl Iterator<Item = Row<'a>>,
        precision: EmbeddingPrecision,
    ) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => {
                for row in rows {
                    stdout.write_all(&line(row, precision)?)?;
                }
                stdout.flush()
            }
            Self::Lines(file, whole) => {
                for row in rows {
                    // A line at once: whoever is killed leaves no half line. Of more at once the
                    // system may write a part.
                    let line = line(row, precision)?;
                    if let Err(error) = file.write_all(&line) {
                        // Nor does whoever finds the disk full.
                        let _ = file.set_len(*whole);
                        return Err(error);
                    }
                    *whole += line.len() as u64;
                }
                Ok(())
            }
            Self::Binary { file, rows: count, .. } => {
                for row in rows {
                    if let Row::Dense(bytes) = row {
                        file.write_all(bytes)?;
                        *count += 1;
                    }
                }
                Ok(())
            }
            Self::Npz { rows: all, .. } => rows.try_for_each(|row| match row {
                Row::Sparse { indices, values } => all.push(indices, values),
                Row::Dense(_) => Ok(()),
            }),
            Self::Lost => Ok(()),
        }
    }
}

/// A row as a line of JSON.
fn line(row: Row<'_>, precision: EmbeddingPrecision) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&match row {
        Row::Dense(bytes) => json!({ "embedding": values(bytes, precision) }),
        Row::Sparse { indices, values } => json!({ "indices": indices, "values": values }),
    })?;
    line.push(b'\n');
    Ok(line)
}

/// The values of a row.
fn values(row: &[u8], precision: EmbeddingPrecision) -> Value {
    use EmbeddingPrecision::{Binary, Float16, Float32, Int8, Ubinary, Uint8};
    match precision {
        Float32 => row.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Float16 => {
            let halves = row.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes));
            halves.map(f32::from).collect()
        }
        Int8 | Binary => row.iter().map(|byte| byte.cast_signed()).collect(),
        Uint8 | Ubinary => row.iter().copied().collect(),
    }
}

impl Format {
    /// The header of so many embeddings, always of the same length.
    fn header(self, rows: u64, dim: usize, precision: EmbeddingPrecision) -> Vec<u8> {
        use EmbeddingPrecision::{Binary, Float16, Float32, Int8, Ubinary, Uint8};
        let width = precision.row_values(dim);
        let (npy, safetensors) = match precision {
            Float32 => ("<f4", "F32"),
            Float16 => ("<f2", "F16"),
            Int8 | Binary => ("|i1", "I8"),
            Uint8 | Ubinary => ("|u1", "U8"),
        };
        match self {
            // https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
            Self::Npy => {
                let mut header = b"\x93NUMPY\x01\x00".to_vec();
                header.extend(((HEADER - 10) as u16).to_le_bytes());
                let text = format!(
                    "{{'descr': '{npy}', 'fortran_order': False, 'shape': ({rows}, {width}), }}"
                );
                header.extend(text.as_bytes());
                header.resize(HEADER - 1, b' ');
                header.push(b'\n');
                header
            }
            // https://github.com/huggingface/safetensors#format
            Self::Safetensors => {
                let mut header = ((HEADER - 8) as u64).to_le_bytes().to_vec();
                let bytes = rows * precision.row_bytes(dim) as u64;
                let text = json!({
                    "embeddings": { "dtype": safetensors, "shape": [rows, width], "data_offsets": [0, bytes] }
                });
                header.extend(text.to_string().as_bytes());
                header.resize(HEADER, b' ');
                header
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_one_length() {
        for format in [Format::Npy, Format::Safetensors] {
            let float32 = EmbeddingPrecision::Float32;
            assert_eq!(format.header(0, 384, float32).len(), HEADER);
            assert_eq!(format.header(u64::from(u32::MAX), 1 << 24, float32).len(), HEADER);
        }
    }

    #[test]
    fn a_safetensors_file_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.safetensors");
        let target = Target::new(Some(&path)).unwrap();
        let mut sink = target.open(2, EmbeddingPrecision::Float32).unwrap();
        let bytes: Vec<u8> =
            [1_f32, 2., 3., 4., 5., 6.].into_iter().flat_map(f32::to_le_bytes).collect();
        sink.write(bytes[..16].chunks(8).map(Row::Dense)).unwrap();
        sink.write(bytes[16..].chunks(8).map(Row::Dense)).unwrap();
        assert!(!path.exists());
        sink.finish().unwrap();
        let tensors = bertscript::read_safetensors(&path).unwrap();
        assert_eq!(tensors[0].0, "embeddings");
        assert_eq!(tensors[0].1.shape(), [3, 2]);
        assert_eq!(tensors[0].1.as_slice::<f32>().unwrap(), [1., 2., 3., 4., 5., 6.]);
    }
}
