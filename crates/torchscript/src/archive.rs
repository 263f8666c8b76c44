//! Archives: saving and loading modules, and reading records without loading.

use crate::error::{Error, ErrorKind, Result, c_string, check};
use crate::ffi::{self, TsReader};
use crate::module::{CStrings, ScriptModule, device_name, opt_ptr};
use crate::value::{RawValue, Value};
use std::ffi::{CString, c_void};
use std::io::Write;
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt;
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
    pub fn load(path: &Path, device: Option<Device>) -> Result<Self> {
        let path = path_string(path)?;
        let device = device.map(device_name).transpose()?;
        // SAFETY: the pointers are live for the call.
        Self::from_shim(|out| unsafe {
            ffi::ts_module_load(path.as_ptr(), std::ptr::null(), 0, opt_ptr(device.as_ref()), out)
        })
    }

    /// Loads an archive from memory, as [`Self::load`] does from a file.
    pub fn load_bytes(bytes: &[u8], device: Option<Device>) -> Result<Self> {
        let device = device.map(device_name).transpose()?;
        // SAFETY: the pointers are live for the call; libtorch copies what it keeps.
        Self::from_shim(|out| unsafe {
            ffi::ts_module_load(
                std::ptr::null(),
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

/// Reads the records of an archive without loading or running any of its code.
#[derive(Debug)]
pub struct ArchiveReader<'a> {
    raw: *mut TsReader,
    bytes: PhantomData<&'a [u8]>,
}

impl<'a> ArchiveReader<'a> {
    /// Opens an archive file.
    pub fn open(path: &Path) -> Result<Self> {
        let path = path_string(path)?;
        // SAFETY: the path is live for the call.
        Self::from_shim(|out| unsafe {
            ffi::ts_reader_open(path.as_ptr(), std::ptr::null(), 0, out)
        })
    }

    /// Opens an archive in memory.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self> {
        // SAFETY: the reader borrows the bytes for as long as it lives.
        Self::from_shim(|out| unsafe {
            ffi::ts_reader_open(std::ptr::null(), bytes.as_ptr().cast(), bytes.len(), out)
        })
    }

    fn from_shim(make: impl FnOnce(*mut *mut TsReader) -> *mut ffi::TsError) -> Result<Self> {
        let mut raw = std::ptr::null_mut();
        check(make(&mut raw))?;
        Ok(Self { raw, bytes: PhantomData })
    }

    /// The names of all records, such as `data.pkl` or `extra/config.json`.
    pub fn records(&mut self) -> Result<Vec<String>> {
        // SAFETY: `self.raw` is a live reader.
        let list = RawValue::new(|out| Ok(unsafe { ffi::ts_reader_records(self.raw, out) }))?;
        list.read()?.into_items()?.into_iter().map(Value::into_string).collect()
    }

    /// The contents of a record, or `None` if there is none of that name.
    pub fn record(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        if !self.records()?.iter().any(|record| record == name) {
            return Ok(None);
        }
        let c_name = c_string(name)?;
        let mut length = 0;
        // SAFETY: the pointers are live for the call.
        check(unsafe { ffi::ts_reader_size(self.raw, c_name.as_ptr(), &mut length) })?;
        let mut data = Vec::new();
        data.try_reserve_exact(length).map_err(|_| {
            Error::new(ErrorKind::OutOfMemory, format!("record {name} has {length} bytes"))
        })?;
        data.resize(length, 0);
        // SAFETY: `data` has room for `length` bytes.
        check(unsafe {
            ffi::ts_reader_read(self.raw, c_name.as_ptr(), data.as_mut_ptr().cast(), length)
        })?;
        Ok(Some(data))
    }

    /// The contents of an extra file, or `None` if the archive has none of that name.
    pub fn extra_file(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        self.record(&format!("extra/{name}"))
    }
}

impl Drop for ArchiveReader<'_> {
    fn drop(&mut self) {
        // SAFETY: owned, and freed once.
        unsafe { ffi::ts_reader_free(self.raw) };
    }
}

fn path_string(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| {
        Error::new(ErrorKind::Type, format!("the path {} holds a NUL character", path.display()))
    })
}
