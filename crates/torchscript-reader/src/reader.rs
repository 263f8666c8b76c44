//! Reading the records of an archive.

use crate::error::{Error, ErrorKind, Result};
use crate::signature::MethodSchema;
use crate::signature::{root_class, signature};
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

/// What libtorch compresses is code, of which no program has so much.
const MAX_DECOMPRESSED_BYTES: u64 = 256 << 20;

/// Reads the records of an archive without loading or running any of its code.
#[derive(Debug)]
pub struct ArchiveReader<R> {
    zip: ZipArchive<R>,
    /// The folder in which all records are.
    top: String,
}

impl ArchiveReader<BufReader<File>> {
    /// Opens an archive file.
    pub fn open(path: &Path) -> Result<Self> {
        Self::new(BufReader::new(File::open(path).map_err(unread)?))
    }
}

impl<'a> ArchiveReader<BufReader<&'a File>> {
    /// Reads an open file.
    pub fn from_file(file: &'a File) -> Result<Self> {
        Self::new(BufReader::new(file))
    }
}

impl<'a> ArchiveReader<Cursor<&'a [u8]>> {
    /// Opens an archive in memory.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self> {
        Self::new(Cursor::new(bytes))
    }
}

impl<R: Read + Seek> ArchiveReader<R> {
    fn new(mut reader: R) -> Result<Self> {
        let length = reader.seek(SeekFrom::End(0)).map_err(unread)?;
        let mut zip = ZipArchive::new(reader).map_err(unzipped)?;
        check_sizes(&mut zip, length)?;
        let first = zip.name_for_index(0).ok_or_else(|| damaged("the archive is empty"))?;
        let first = first.map_err(unzipped)?;
        let (top, _) = first.split_once('/').ok_or_else(|| damaged("records without a folder"))?;
        let top = format!("{top}/");
        Ok(Self { zip, top })
    }

    /// The names of all records, such as `data.pkl` or `extra/config.json`.
    pub fn records(&self) -> Result<Vec<String>> {
        let names = self.zip.file_names().map(|name| {
            let name = name.map_err(unzipped)?;
            let record = name.strip_prefix(&self.top);
            record
                .map(str::to_owned)
                .ok_or_else(|| damaged(format!("{name} is not in {}", self.top)))
        });
        names.collect()
    }

    /// The contents of a record, or `None` if there is none of that name.
    ///
    /// # Errors
    /// [`ErrorKind::Archive`] if its checksum is not the one in the archive.
    pub fn record(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(index) = self.index(name) else { return Ok(None) };
        let mut data = Vec::new();
        self.copy(index, &mut data).map(|()| Some(data))
    }

    /// The contents of an extra file, or `None` if the archive has none of that name.
    ///
    /// # Errors
    /// Those of [`Self::record`], and a file that is compressed: torch writes none,
    /// and a few kilobytes could exhaust the memory.
    pub fn extra_file(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let record = format!("extra/{name}");
        match self.stored(&record)? {
            Some(_) => self.record(&record),
            None => Ok(None),
        }
    }

    /// The signature of a method of the program, as its code states it; nothing of
    /// the program is loaded. `None` if there is no such method.
    pub fn schema(&mut self, method: &str) -> Result<Option<MethodSchema>> {
        let pickle = self.record("data.pkl")?.unwrap_or_default();
        let Some((module, class)) = root_class(&pickle) else { return Ok(None) };
        let code = self.record(&format!("code/{}.py", module.replace('.', "/")))?;
        let code = code.unwrap_or_default();
        Ok(signature(&String::from_utf8_lossy(&code), class, method))
    }

    /// How many bytes of tensors there are; those that share memory count once.
    pub fn tensor_bytes(&mut self) -> Result<u64> {
        let mut bytes = 0;
        for (index, record) in self.records()?.iter().enumerate() {
            if record.starts_with("data/") {
                bytes += self.zip.by_index_raw(index).map_err(unzipped)?.size();
            }
        }
        Ok(bytes)
    }

    /// Compares the checksums of all records but tensors, which libtorch 2.11.0
    /// leaves out: it would compile code that was damaged, or that is not there.
    ///
    /// # Errors
    /// [`ErrorKind::Archive`] that names the record, or says that records overlap:
    /// read one by one, those would be more than the file.
    pub fn check(&mut self) -> Result<()> {
        if self.zip.has_overlapping_files().map_err(unzipped)? {
            return Err(damaged("records overlap"));
        }
        for (index, record) in self.records()?.iter().enumerate() {
            if !record.starts_with("data/") {
                let copied = self.copy(index, &mut io::sink());
                copied.map_err(|error| Error::new(error.kind(), format!("{record}: {error}")))?;
            }
        }
        Ok(())
    }

    /// The byte range in the archive of a record's contents, or `None` if there is none of
    /// that name. The checksum is not compared.
    ///
    /// # Errors
    /// [`ErrorKind::Archive`] for a record that is compressed.
    pub fn stored(&mut self, record: &str) -> Result<Option<Range<u64>>> {
        let Some(index) = self.index(record) else { return Ok(None) };
        let entry = self.zip.by_index_raw(index).map_err(unzipped)?;
        let method = entry.compression();
        if method != CompressionMethod::Stored {
            return Err(damaged(format!("{record}: found {method}, expected no compression")));
        }
        let start = entry.data_start();
        let range = start.and_then(|start| Some(start..start.checked_add(entry.size())?));
        range.map(Some).ok_or_else(|| damaged(format!("{record}: the record has no contents")))
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.zip.index_for_name(&format!("{}{name}", self.top))
    }

    fn copy(&mut self, index: usize, to: &mut impl io::Write) -> Result<()> {
        let mut record = self.zip.by_index(index).map_err(unzipped)?;
        let expected = record.size();
        // No more than promised, whatever it unpacks to.
        let most = expected.saturating_add(1);
        let found = io::copy(&mut (&mut record).take(most), to).map_err(unread)?;
        match found == expected {
            true => Ok(()),
            false => Err(damaged(format!("found {found} bytes, expected {expected}"))),
        }
    }
}

/// Refuses records that share their bytes or unpack without end: what they hold
/// together, and so what reading and loading them takes, follows from the file.
fn check_sizes<R: Read + Seek>(zip: &mut ZipArchive<R>, length: u64) -> Result<()> {
    let (mut packed, mut unpacked) = (0_u64, 0_u64);
    for index in 0..zip.len() {
        let record = zip.by_index_raw(index).map_err(unzipped)?;
        packed = packed.saturating_add(record.compressed_size());
        match record.compression() {
            CompressionMethod::Stored if record.size() == record.compressed_size() => {}
            _ => unpacked = unpacked.saturating_add(record.size()),
        }
    }
    if packed > length {
        return Err(damaged(format!(
            "the records have {packed} bytes, but the file only {length}"
        )));
    }
    if unpacked > MAX_DECOMPRESSED_BYTES {
        let message = format!(
            "records unpack to {unpacked} bytes, expected at most {MAX_DECOMPRESSED_BYTES}"
        );
        return Err(damaged(message));
    }
    Ok(())
}

fn damaged(reason: impl ToString) -> Error {
    Error::new(ErrorKind::Archive, reason.to_string())
}

/// What the system says is no word about the contents; an end that comes too soon is, and
/// so is a place that no file has.
fn unread(error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(_) if error.kind() != io::ErrorKind::InvalidInput => {
            Error::new(ErrorKind::Io, error.to_string())
        }
        _ => damaged(error),
    }
}

fn unzipped(error: ZipError) -> Error {
    match error {
        ZipError::Io(error) => unread(error),
        error => damaged(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    /// A zip of `t/a` and `t/b`, 4096 zeros each.
    fn two_records(method: CompressionMethod) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(method);
        for name in ["t/a", "t/b"] {
            zip.start_file(name, options).unwrap();
            zip.write_all(&[0; 4096]).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    /// Where each entry of the directory begins, and the end of the directory.
    fn directory(bytes: &[u8]) -> Vec<usize> {
        let signature = |at: &usize| matches!(&bytes[*at..*at + 4], b"PK\x01\x02" | b"PK\x05\x06");
        (0..bytes.len() - 4).filter(signature).collect()
    }

    fn refusal(bytes: &[u8]) -> String {
        ArchiveReader::from_bytes(bytes).unwrap_err().to_string()
    }

    // https://github.com/trifectatechfoundation/zlib-rs/issues/491
    #[test]
    #[cfg_attr(miri, ignore = "the compressor, which only this test uses, is unsound")]
    fn records_that_unpack_without_end_are_refused() {
        let mut bytes = two_records(CompressionMethod::Deflated);
        assert!(ArchiveReader::from_bytes(&bytes).is_ok());
        let [first, ..] = directory(&bytes)[..] else { panic!("no directory") };
        bytes[first + 24..first + 28].copy_from_slice(&0xf000_0000_u32.to_le_bytes());
        assert_eq!(
            refusal(&bytes),
            "records unpack to 4026535936 bytes, expected at most 268435456"
        );
    }

    #[test]
    fn records_on_the_same_bytes_are_refused() {
        let bytes = two_records(CompressionMethod::Stored);
        assert!(ArchiveReader::from_bytes(&bytes).is_ok());
        let [first, second, end] = directory(&bytes)[..] else { panic!("no directory") };
        let place =
            u32::from_le_bytes(bytes[second + 42..second + 46].try_into().unwrap()) as usize;
        let mut overlapping = bytes[..place].to_vec();
        overlapping.extend(&bytes[first..second]);
        overlapping.extend(&bytes[second..end]);
        overlapping.extend(&bytes[end..]);
        let directory = directory(&overlapping);
        overlapping[directory[1] + 42..directory[1] + 46].fill(0);
        let end = directory[2];
        overlapping[end + 16..end + 20].copy_from_slice(&(place as u32).to_le_bytes());
        let expected =
            format!("the records have 8192 bytes, but the file only {}", overlapping.len());
        assert_eq!(refusal(&overlapping), expected);
    }
}
