//! Reading the records of an archive; none of its code is loaded, nor libtorch
//! asked.

use crate::error::{Error, ErrorKind, Result};
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek};
use std::ops::Range;
use std::path::Path;
use zip::{CompressionMethod, ZipArchive};

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
        Self::new(BufReader::new(File::open(path).map_err(damaged)?))
    }
}

impl<'a> ArchiveReader<Cursor<&'a [u8]>> {
    /// Opens an archive in memory.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self> {
        Self::new(Cursor::new(bytes))
    }
}

impl<R: Read + Seek> ArchiveReader<R> {
    fn new(reader: R) -> Result<Self> {
        let zip = ZipArchive::new(reader).map_err(damaged)?;
        let first = zip.name_for_index(0).ok_or_else(|| damaged("the archive is empty"))?;
        let first = first.map_err(damaged)?;
        let (top, _) = first.split_once('/').ok_or_else(|| damaged("records without a folder"))?;
        let top = format!("{top}/");
        Ok(Self { zip, top })
    }

    /// The names of all records, such as `data.pkl` or `extra/config.json`.
    pub fn records(&self) -> Result<Vec<String>> {
        let names = self.zip.file_names().map(|name| {
            let name = name.map_err(damaged)?;
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
        let Some(index) = self.zip.index_for_name(&format!("{}{name}", self.top)) else {
            return Ok(None);
        };
        let mut data = Vec::new();
        self.copy(index, &mut data).map(|()| Some(data))
    }

    /// The contents of an extra file, or `None` if the archive has none of that name.
    pub fn extra_file(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        self.record(&format!("extra/{name}"))
    }

    /// Compares the checksums of all records but tensors, which libtorch 2.11.0
    /// leaves out: it would compile code that was damaged, or that is not there.
    ///
    /// # Errors
    /// [`ErrorKind::Archive`] that names the record.
    pub fn check(&mut self) -> Result<()> {
        for (index, record) in self.records()?.iter().enumerate() {
            if !record.starts_with("data/") {
                let copied = self.copy(index, &mut io::sink());
                copied.map_err(|error| damaged(format!("{record}: {error}")))?;
            }
        }
        Ok(())
    }

    /// The places of tensors in the file, in the order of their records; those
    /// that are compressed have none.
    pub fn tensors(&mut self) -> Result<Vec<Range<usize>>> {
        let mut places = Vec::new();
        for (index, record) in self.records()?.iter().enumerate() {
            let entry = self.zip.by_index_raw(index).map_err(damaged)?;
            let start = entry.data_start().and_then(|start| usize::try_from(start).ok());
            if record.starts_with("data/")
                && entry.compression() == CompressionMethod::Stored
                && let (Some(start), Ok(length)) = (start, usize::try_from(entry.size()))
                && let Some(end) = start.checked_add(length)
            {
                places.push(start..end);
            }
        }
        Ok(places)
    }

    fn copy(&mut self, index: usize, to: &mut impl io::Write) -> Result<()> {
        let mut record = self.zip.by_index(index).map_err(damaged)?;
        let expected = record.size();
        // No more than promised, whatever it unpacks to.
        let found = io::copy(&mut (&mut record).take(expected + 1), to).map_err(damaged)?;
        match found == expected {
            true => Ok(()),
            false => Err(damaged(format!("found {found} bytes, expected {expected}"))),
        }
    }
}

fn damaged(reason: impl ToString) -> Error {
    Error::new(ErrorKind::Archive, reason.to_string())
}
