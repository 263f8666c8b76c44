//! Sparse rows as `scipy.sparse.save_npz` writes them: a zip file of NumPy arrays.
//!
//! Sources: <https://github.com/scipy/scipy/blob/v1.17.0/scipy/sparse/_matrix_io.py>,
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

use std::io::{self, Seek, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Rows in CSR form, in memory until all are there: an array says how long it is before its
/// values.
pub(crate) struct Csr {
    width: i64,
    indptr: Vec<i64>,
    indices: Vec<u32>,
    data: Vec<f32>,
}

impl Csr {
    /// No rows, of `width` numbers each.
    pub(crate) fn new(width: u64) -> Self {
        Self { width: width as i64, indptr: vec![0], indices: Vec::new(), data: Vec::new() }
    }

    pub(crate) fn push(&mut self, indices: &[u32], values: &[f32]) -> io::Result<()> {
        let mut reserve = || {
            self.indptr.try_reserve(1)?;
            self.indices.try_reserve(indices.len())?;
            self.data.try_reserve(values.len())
        };
        reserve().map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.indices.extend_from_slice(indices);
        self.data.extend_from_slice(values);
        self.indptr.push(self.indices.len() as i64);
        Ok(())
    }

    /// Writes all rows, and gives the file back.
    pub(crate) fn write<W: Write + Seek>(&self, file: W) -> io::Result<W> {
        let mut zip = ZipWriter::new(file);
        let (rows, count) = (self.indptr.len() - 1, self.data.len());
        let shape = [rows as i64, self.width];
        entry(&mut zip, "indices", "<i4", &format!("({count},)"), &self.indices, |v| {
            v.to_le_bytes()
        })?;
        entry(&mut zip, "indptr", "<i8", &format!("({},)", rows + 1), &self.indptr, |v| {
            v.to_le_bytes()
        })?;
        entry(&mut zip, "format", "|S3", "()", b"csr", |v| [*v])?;
        entry(&mut zip, "shape", "<i8", "(2,)", &shape, |v| v.to_le_bytes())?;
        entry(&mut zip, "data", "<f4", &format!("({count},)"), &self.data, |v| v.to_le_bytes())?;
        Ok(zip.finish()?)
    }
}

/// Adds an array.
fn entry<T, const N: usize>(
    zip: &mut ZipWriter<impl Write + Seek>,
    name: &str,
    descr: &str,
    shape: &str,
    values: &[T],
    bytes: impl Fn(&T) -> [u8; N],
) -> io::Result<()> {
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    // Each may be larger than 4 GiB.
    zip.start_file(format!("{name}.npy"), stored.large_file(true))?;
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    // Values begin at a multiple of 64.
    let length = (10 + text.len() + 1).next_multiple_of(64);
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend(((length - 10) as u16).to_le_bytes());
    header.extend(text.as_bytes());
    header.resize(length - 1, b' ');
    header.push(b'\n');
    zip.write_all(&header)?;
    for part in values.chunks(1 << 14) {
        zip.write_all(&part.iter().flat_map(&bytes).collect::<Vec<_>>())?;
    }
    Ok(())
}
