//! Files mapped into memory.

use memmap2::{MmapMut, MmapOptions, UncheckedAdvice};
use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;

/// A new file in memory, which goes with its last descriptor and mapping.
///
/// # Errors
/// What the system says.
pub fn memory_file() -> io::Result<File> {
    // SAFETY: the name is a literal.
    let descriptor = unsafe { libc::memfd_create(c"bertscript".as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just made, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

/// The bytes of a file in memory, or a copy of bytes that is aligned as a mapped file is.
///
/// The mapping is private: a write to it, by whoever takes its address for that, changes memory
/// only. The file must not be truncated while the mapping lives: the system would end the
/// process on the next read.
#[derive(Debug)]
pub struct MappedFile {
    bytes: MmapMut,
    /// Otherwise nothing would bring pages back.
    is_file: bool,
}

impl MappedFile {
    /// Maps the whole file.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(file: &File) -> io::Result<Self> {
        let mut options = MmapOptions::new();
        // SAFETY: whoever changes the file meanwhile breaks the contract above.
        let bytes = unsafe { options.no_reserve_swap().map_copy(file)? };
        Ok(Self { bytes, is_file: true })
    }

    /// A copy of the bytes.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn copy(bytes: &[u8]) -> io::Result<Self> {
        let mut copy = MmapMut::map_anon(bytes.len())?;
        copy.copy_from_slice(bytes);
        Ok(Self { bytes: copy, is_file: false })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Drops the pages of a file that are in memory; those that are read again come back.
    /// What was written to them is lost.
    pub fn release(&self) {
        if self.is_file {
            // SAFETY: the pages of the file itself come back, which are what they were.
            // Where the system cannot drop them, they stay.
            let _ = unsafe { self.bytes.unchecked_advise(UncheckedAdvice::DontNeed) };
        }
    }
}
