//! Files that appear whole or not at all.

use crate::error::{Error, ErrorKind, Result};
use std::fs::{self, FileType, Metadata, Permissions};
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A file under a temporary name beside its own, which it gets at the end. Dropped
/// before, or killed, it leaves nothing under its own name, and what stood there
/// before stays.
#[derive(Debug)]
pub struct WholeFile {
    file: NamedTempFile,
    target: Target,
}

impl WholeFile {
    /// Creates a file that is to be at `path`, or where `path` leads if it is a symbolic
    /// link.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if `path` is a directory, a device, a FIFO or a
    /// socket; [`ErrorKind::Io`].
    pub fn create(path: &Path) -> Result<Self> {
        let target = Target::resolve(path)?;
        // A file that is replaced may be private, so its replacement is until it has the same
        // mode. For a new file the process's umask decides.
        let mode = if target.existing()?.is_some() { 0o600 } else { 0o666 };
        let mut builder = tempfile::Builder::new();
        // Independent of the file's name, which may be as long as the file system allows.
        builder.prefix(".bertscript-").suffix(".partial");
        builder.permissions(Permissions::from_mode(mode));
        let file = builder.tempfile_in(target.directory()).map_err(|error| target.io(error))?;
        Ok(Self { file, target })
    }

    /// Gives the file its name, and the mode of the file that it replaces.
    ///
    /// # Errors
    /// Those of [`Self::create`].
    pub fn finish(self) -> Result<()> {
        let Self { file, target } = self;
        let replaced = target.existing()?;
        let finish = || -> io::Result<()> {
            if let Some(replaced) = replaced {
                let mode = Permissions::from_mode(replaced.mode() & 0o777);
                file.as_file().set_permissions(mode)?;
            }
            // The name must not outlive a power cut that its contents did not.
            file.as_file().sync_all()?;
            file.persist(&target.path)?;
            Ok(())
        };
        finish().map_err(|error| target.io(error))
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for WholeFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// Calls `write` with a temporary path in the same directory, renames what it wrote to
/// `path`, and returns its value.
pub(crate) fn write<T>(path: &Path, write: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let file = WholeFile::create(path)?;
    let value = write(file.file.path()).map_err(|error| error.at_path(path))?;
    file.finish()?;
    Ok(value)
}

/// Checks that a file can be written at `path` without loss: nothing is there or a
/// regular file, and that file is none of `inputs`, under any name. It is cheap, so call
/// it before the work whose result is to be written.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if something would be lost; [`ErrorKind::Io`] if the
/// directory of `path` does not exist, or a path cannot be examined.
pub fn check_output<P: AsRef<Path>>(
    path: &Path,
    inputs: impl IntoIterator<Item = P>,
) -> Result<()> {
    let target = Target::resolve(path)?;
    let Some(existing) = target.existing()? else {
        fs::metadata(target.directory()).map_err(|error| target.io(error))?;
        return Ok(());
    };
    for input in inputs {
        let input = input.as_ref();
        match fs::metadata(input) {
            Ok(found) if is_same_file(&found, &existing) => {
                let message =
                    format!("found the input file {}, expected another file", input.display());
                return Err(Error::new(ErrorKind::InvalidInput, message).at_path(path));
            }
            Ok(_) => {}
            // For its reader to report, if it must be there.
            Err(error) if matches!(error.kind(), NotFound | NotADirectory) => {}
            Err(error) => return Err(Error::io(input, "open the file", error)),
        }
    }
    Ok(())
}

/// Whether two paths or descriptors lead to one file, under whatever names.
pub fn is_same_file(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Where a file is to be.
#[derive(Debug)]
struct Target {
    /// The caller's path
    given: PathBuf,
    /// The same, or where its symbolic links lead
    path: PathBuf,
}

impl Target {
    /// Follows symbolic links to their end, whether or not a file is there.
    fn resolve(path: &Path) -> Result<Self> {
        let mut target = Self { given: path.to_owned(), path: path.to_owned() };
        loop {
            // The system follows all links at once: here loops are errors.
            regular(fs::metadata(&target.path)).map_err(|error| error.at_path(path))?;
            match fs::read_link(&target.path) {
                Ok(link) => {
                    target.path.pop();
                    target.path.push(link);
                }
                // Not a link, or nothing.
                Err(_) => return Ok(target),
            }
        }
    }

    /// The regular file that will be replaced.
    fn existing(&self) -> Result<Option<Metadata>> {
        regular(fs::symlink_metadata(&self.path)).map_err(|error| error.at_path(&self.given))
    }

    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    fn io(&self, error: io::Error) -> Error {
        Error::io(&self.given, "write the file", error)
    }
}

/// A regular file or nothing.
fn regular(found: io::Result<Metadata>) -> Result<Option<Metadata>> {
    match found {
        Ok(found) if found.is_file() => Ok(Some(found)),
        Ok(found) => {
            let name = type_name(found.file_type());
            let message = format!("found {name}, expected a regular file or nothing");
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
        Err(error) if error.kind() == NotFound => Ok(None),
        Err(error) => Err(Error::new(ErrorKind::Io, "cannot write the file").because(error)),
    }
}

fn type_name(found: FileType) -> &'static str {
    match found {
        found if found.is_dir() => "a directory",
        found if found.is_fifo() => "a FIFO",
        found if found.is_socket() => "a socket",
        found if found.is_char_device() => "a character device",
        found if found.is_block_device() => "a block device",
        found if found.is_symlink() => "a symbolic link",
        _ => "a special file",
    }
}
