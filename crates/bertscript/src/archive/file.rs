//! An archive whose bytes are mapped, once, and read as data.

use super::weights::ArchiveWeights;
use super::{Archive, start_of, unreadable};
use crate::error::{Error, ErrorKind, Result, unmapped};
use crate::memory::filled;
#[cfg(not(feature = "torch"))]
use crate::tensor::ElementType;
use crate::tensor::Tensor;
use bertscript_process::MappedFile;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use torchscript_reader::ArchiveReader;

/// An archive of this library: its weights, mapped. Of its code nothing is read but checksums
/// before [`Self::load_script`].
#[derive(Debug)]
pub(crate) struct ArchiveFile {
    mapped: Arc<MappedFile>,
    weights: ArchiveWeights,
    /// None of an archive that was given in memory.
    file: Option<(File, FileIdentity)>,
}

/// A file that was opened.
pub(crate) enum Opened {
    /// An archive of this library.
    Own(Box<(Archive, ArchiveFile)>),
    /// An archive of another program.
    Other(File),
}

/// What tells the contents of a file from those of all others, as long as it is mapped: no
/// other file gets its inode, and its times change when somebody writes to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
    length: u64,
    modified: [i64; 2],
    changed: [i64; 2],
}

impl FileIdentity {
    /// What changes with the contents alone; another name changes a time, too.
    fn contents(&self) -> (u64, [i64; 2]) {
        (self.length, self.modified)
    }

    fn of(file: &File) -> Result<Self> {
        let metadata =
            file.metadata().map_err(|error| unreadable("cannot read the archive", error))?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: [metadata.mtime(), metadata.mtime_nsec()],
            changed: [metadata.ctime(), metadata.ctime_nsec()],
        })
    }
}

impl ArchiveFile {
    /// Reads an open file. Returns the file itself with an archive of another program.
    ///
    /// # Errors
    /// Those of [`Archive::open`] and [`ArchiveWeights::from_file`].
    pub(crate) fn from_file(file: File) -> Result<Opened> {
        let identity = FileIdentity::of(&file)?;
        let reader = ArchiveReader::from_file(&file);
        let Some((archive, weights)) = read(&start_of(&file)?, reader, identity.length)? else {
            return Ok(Opened::Other(file));
        };
        let mapped = Arc::new(MappedFile::new(&file).map_err(unmapped)?);
        let file = Some((file, identity));
        Ok(Opened::Own(Box::new((archive, Self { mapped, weights, file }))))
    }

    /// Copies an archive in memory, and reads it as [`Self::from_file`] does a file.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Option<(Archive, Self)>> {
        let read = read(bytes, ArchiveReader::from_bytes(bytes), bytes.len() as u64);
        let found = read.map_err(|error| error.at("archive"))?;
        let Some((archive, weights)) = found else { return Ok(None) };
        let mapped = Arc::new(MappedFile::copy(bytes).map_err(unmapped)?);
        Ok(Some((archive, Self { mapped, weights, file: None })))
    }

    /// Which file it is; none in memory.
    pub(crate) fn identity(&self) -> Option<&FileIdentity> {
        self.file.as_ref().map(|(_, identity)| identity)
    }

    /// The parameters, by the names of the code's `state_dict`, mapped.
    pub(crate) fn parameters(&self) -> Result<Vec<(String, Tensor)>> {
        self.weights.tensors(&self.mapped)
    }

    /// Writes the archive as it was loaded to a file, which is to be at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if its own file changed since, or what the system says.
    pub(crate) fn copy_to(&self, to: &mut impl Write, path: &Path) -> Result<()> {
        let failed = |error| Error::io(path, "write the archive", error);
        let Some((file, identity)) = &self.file else {
            return to.write_all(self.mapped.bytes()).map_err(failed);
        };
        // Not the mapped memory, which whoever has a pointer to a weight may have written to.
        let (mut buffer, mut place) = (filled(1 << 20, 0_u8)?, 0);
        while place < identity.length {
            let read = file.read_at(&mut buffer, place);
            let read = read.map_err(|error| unreadable("cannot read the archive", error))?;
            if read == 0 {
                break;
            }
            to.write_all(&buffer[..read]).map_err(failed)?;
            place += read as u64;
        }
        if FileIdentity::of(file)?.contents() != identity.contents() {
            let message = "cannot save the archive: the file that it was loaded from has changed";
            return Err(Error::new(ErrorKind::Io, message));
        }
        Ok(())
    }

    /// Drops the pages of weights that are in memory; those that are read again come back.
    pub(crate) fn release(&self) {
        self.mapped.release();
    }
}

#[cfg(not(feature = "torch"))]
impl ArchiveFile {
    /// The file; none in memory.
    pub(crate) fn file(&self) -> Option<&File> {
        self.file.as_ref().map(|(file, _)| file)
    }

    /// All bytes of the archive, over the same memory.
    pub(crate) fn bytes(&self) -> Result<Tensor> {
        let length = self.mapped.bytes().len();
        Tensor::mapped(ElementType::U8, vec![length], &self.mapped, 0..length)
    }
}

#[cfg(feature = "torch")]
impl ArchiveFile {
    /// Loads the code, on the CPU, over the mapped weights.
    pub(crate) fn load_script(&self) -> Result<torchscript::ScriptModule> {
        let cpu = Some(tch::Device::Cpu);
        let script = match &self.file {
            Some((file, _)) => torchscript::ScriptModule::load_file(file, cpu),
            None => torchscript::ScriptModule::load_bytes(self.mapped.bytes(), cpu),
        };
        let mut script = script.map_err(|error| {
            let error = Error::from(error);
            // The whole of what the compiler says is the cause.
            let said = error.message().lines().next().unwrap_or_default();
            let message = format!("the code of the archive does not load: {said}");
            Error::new(error.kind(), message).because(error)
        })?;
        let parameters = self.parameters()?;
        let parameters =
            parameters.iter().map(|(name, tensor)| Ok((name.clone(), tensor.try_into()?)));
        script.map_tensors(&parameters.collect::<Result<Vec<_>>>()?)?;
        Ok(script)
    }
}

/// All that is read of an archive of this library; `None` of another program's.
fn read<R: Read + Seek>(
    start: &[u8],
    reader: torchscript_reader::Result<ArchiveReader<R>>,
    length: u64,
) -> Result<Option<(Archive, ArchiveWeights)>> {
    let (archive, mut reader) = Archive::read(start, reader)?;
    let Some(archive) = archive else { return Ok(None) };
    let weights = ArchiveWeights::read(&mut reader, length).map_err(Error::inside)?;
    weights.check_size(archive.metadata()).map_err(Error::inside)?;
    Ok(Some((archive, weights)))
}
