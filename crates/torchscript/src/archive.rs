//! Archives: saving and loading modules.

use crate::error::{Error, ErrorKind, Result, check};
use crate::ffi;
use crate::module::{CStrings, ScriptModule, device_name, opt_ptr};
use std::ffi::c_void;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use tch::Device;

impl ScriptModule {
    /// Writes the archive that `torch.jit.load` opens, with extra files beside
    /// the code.
    ///
    /// # Errors
    /// A failure of `writer` comes back as the source of an
    /// [`ErrorKind::Callback`] error.
    pub fn save<W: Write>(&self, writer: W, extra_files: &[(&str, &[u8])]) -> Result<()> {
        let names = CStrings::new(extra_files.iter().map(|(name, _)| *name))?;
        let contents: Vec<_> = extra_files.iter().map(|(_, data)| data.as_ptr().cast()).collect();
        let lengths: Vec<_> = extra_files.iter().map(|(_, data)| data.len()).collect();
        let mut sink = Sink { writer, failure: None };
        // SAFETY: the arrays and the sink outlive the call; `write::<W>` is
        // the function for the type behind `user`.
        let outcome = check(unsafe {
            ffi::ts_module_save(
                self.as_ptr(),
                names.as_ptr(),
                contents.as_ptr(),
                lengths.as_ptr(),
                names.len(),
                write::<W>,
                (&raw mut sink).cast(),
            )
        });
        match sink.failure {
            Some(failure) => Err(Error::callback(failure.into())),
            // A buffering writer must not lose its last part on being dropped.
            None => outcome
                .and_then(|()| sink.writer.flush().map_err(|error| Error::callback(error.into()))),
        }
    }

    /// Loads an archive from a file. Tensors go to `device`, or stay where the
    /// archive says.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`] if the system does not let it be read.
    pub fn load(path: &Path, device: Option<Device>) -> Result<Self> {
        Self::load_file(&open(path)?, device)
    }

    /// Loads an archive from an open file, wherever in it the next byte to read is.
    ///
    /// # Errors
    /// Those of [`Self::load`].
    pub fn load_file(file: &File, device: Option<Device>) -> Result<Self> {
        let device = device.map(device_name).transpose()?;
        // SAFETY: the descriptor and the pointers are live for the call.
        Self::from_shim(|out| unsafe {
            let device = opt_ptr(device.as_ref());
            ffi::ts_module_load(file.as_raw_fd(), std::ptr::null(), 0, device, out)
        })
    }

    /// Whether a file is an archive that loads: its code compiles, its tensors are
    /// there. None of them stays in memory.
    pub fn check_file(path: &Path) -> Result<()> {
        let file = open(path)?;
        // SAFETY: the descriptor is open for the call.
        let load = |out| unsafe {
            ffi::ts_module_load(file.as_raw_fd(), std::ptr::null(), 0, c"meta".as_ptr(), out)
        };
        Self::from_shim(load).map(drop)
    }

    /// Loads an archive from memory, as [`Self::load`] does from a file.
    pub fn load_bytes(bytes: &[u8], device: Option<Device>) -> Result<Self> {
        let device = device.map(device_name).transpose()?;
        // SAFETY: the pointers are live for the call; libtorch copies what it keeps.
        Self::from_shim(|out| unsafe {
            ffi::ts_module_load(
                -1,
                bytes.as_ptr().cast(),
                bytes.len(),
                opt_ptr(device.as_ref()),
                out,
            )
        })
    }
}

struct Sink<W> {
    writer: W,
    failure: Option<std::io::Error>,
}

unsafe extern "C" fn write<W: Write>(
    user: *mut c_void,
    data: *const c_void,
    length: usize,
) -> usize {
    // SAFETY: `user` is the sink of the `save` that is running, and `data`
    // holds `length` bytes.
    let (sink, data) = unsafe {
        (&mut *user.cast::<Sink<W>>(), std::slice::from_raw_parts(data.cast::<u8>(), length))
    };
    let written =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sink.writer.write_all(data)))
            .unwrap_or_else(|_| Err(std::io::Error::other("the writer panicked")));
    match written {
        Ok(()) => length,
        Err(error) => {
            sink.failure = Some(error);
            0
        }
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path)
        .map_err(|error| Error::new(ErrorKind::Io, format!("{}: {error}", path.display())))
}
