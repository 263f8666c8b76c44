//! Where embeddings go: JSON lines, NumPy or safetensors, row by row.

use anyhow::{Context, bail};
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Room for the longest header; both formats allow blanks in it.
const HEADER: usize = 256;

/// A destination of rows of numbers, of any count.
pub(crate) enum Sink {
    /// A line for each row, written as soon as it is known.
    JsonLines(Box<dyn Write>),
    /// A binary file, which appears when it is finished.
    Binary { file: BufWriter<NamedTempFile>, path: PathBuf, format: Format, rows: u64, width: u64 },
}

/// A binary format: a header, then all values.
#[derive(Clone, Copy)]
pub(crate) enum Format {
    Npy,
    Safetensors,
}

impl Sink {
    /// Chooses by the ending of the path; without one, or to `-`, JSON lines on
    /// standard output.
    pub(crate) fn open(path: Option<&Path>, width: u64) -> anyhow::Result<Self> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Self::JsonLines(Box::new(std::io::stdout())));
        };
        let format = match path.extension().and_then(|ending| ending.to_str()) {
            Some("npy") => Format::Npy,
            Some("safetensors") => Format::Safetensors,
            Some("jsonl") => {
                let file = File::create(path)
                    .with_context(|| format!("cannot write {}", path.display()))?;
                return Ok(Self::JsonLines(Box::new(file)));
            }
            _ => bail!("{}: unknown ending, expected .npy, .safetensors or .jsonl", path.display()),
        };
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let file = NamedTempFile::new_in(folder)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let mut file = BufWriter::with_capacity(1 << 16, file);
        file.write_all(&format.header(0, width))?;
        Ok(Self::Binary { file, path: path.to_owned(), format, rows: 0, width })
    }

    /// Appends rows.
    pub(crate) fn write(&mut self, rows: &[Vec<f32>]) -> std::io::Result<()> {
        match self {
            Self::JsonLines(output) => {
                // A line at once: whoever is killed leaves no half line. Of more at once the
                // system may write a part.
                let mut line = Vec::new();
                for row in rows {
                    line.clear();
                    serde_json::to_writer(&mut line, &serde_json::json!({ "embedding": row }))?;
                    line.push(b'\n');
                    output.write_all(&line)?;
                }
                output.flush()
            }
            Self::Binary { file, rows: count, .. } => {
                for value in rows.iter().flatten() {
                    file.write_all(&value.to_le_bytes())?;
                }
                *count += rows.len() as u64;
                Ok(())
            }
        }
    }

    /// Completes the file, which now appears.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let Self::Binary { file, path, format, rows, width } = self else { return Ok(()) };
        let mut file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&format.header(rows, width))?;
        file.as_file().sync_all()?;
        let shown = path.display();
        let file = file.persist(&path).with_context(|| format!("cannot write {shown}"))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // A temporary file is for its owner alone.
            file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
        }
        Ok(())
    }
}

impl Format {
    /// The header of an array of this shape, always of the same length.
    fn header(self, rows: u64, width: u64) -> Vec<u8> {
        match self {
            // https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
            Self::Npy => {
                let mut header = b"\x93NUMPY\x01\x00".to_vec();
                header.extend(((HEADER - 10) as u16).to_le_bytes());
                let text = format!(
                    "{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}"
                );
                header.extend(text.as_bytes());
                header.resize(HEADER - 1, b' ');
                header.push(b'\n');
                header
            }
            // https://github.com/huggingface/safetensors#format
            Self::Safetensors => {
                let mut header = ((HEADER - 8) as u64).to_le_bytes().to_vec();
                let bytes = rows * width * 4;
                let text = serde_json::json!({
                    "embeddings": { "dtype": "F32", "shape": [rows, width], "data_offsets": [0, bytes] }
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
            assert_eq!(format.header(0, 384).len(), HEADER);
            assert_eq!(format.header(u64::from(u32::MAX), 1 << 24).len(), HEADER);
        }
    }

    #[test]
    fn a_safetensors_file_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.safetensors");
        let mut sink = Sink::open(Some(&path), 2).unwrap();
        sink.write(&[vec![1., 2.], vec![3., 4.]]).unwrap();
        sink.write(&[vec![5., 6.]]).unwrap();
        assert!(!path.exists());
        sink.finish().unwrap();
        let tensors = bertscript::read_safetensors(&path).unwrap();
        assert_eq!(tensors[0].0, "embeddings");
        assert_eq!(tensors[0].1.size(), [3, 2]);
        let values = Vec::<f32>::try_from(&tensors[0].1.flatten(0, 1)).unwrap();
        assert_eq!(values, [1., 2., 3., 4., 5., 6.]);
    }
}
