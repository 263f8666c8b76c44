//! Models that the plug-in for libtorch traces.

use crate::archive::Archive;
use crate::device::Device;
use crate::eager::{BUILDING, PreTrained, bytes};
use crate::error::{Error, ErrorKind, Result};
use crate::module::Module;
use crate::plugin::{Request, ask};
use crate::shapes::Shapes;
use std::os::fd::AsRawFd;
use std::path::Path;

impl PreTrained {
    /// Traces the model and writes it to `file`, with what stood beside its weights in the
    /// checkpoint. It appears once all is verified.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if `file` is a file of the checkpoint, or something other
    /// than a regular file; [`ErrorKind::Io`]; [`ErrorKind::Verification`] if what the file
    /// computes differs from the model.
    pub fn export(&self, shapes: &Shapes, file: impl AsRef<Path>) -> Result<Archive> {
        let file = file.as_ref();
        let (model, path) = (self.number(), bytes(file)?);
        ask(BUILDING, &Request::Export { model, shapes: shapes.clone(), path }, Vec::new())?;
        Archive::open(file)?.ok_or_else(|| {
            Error::new(ErrorKind::Archive, "it does not describe itself").at_path(file)
        })
    }

    /// Traces the model to a module that runs on the CPU, and that [`Module::save`] writes.
    ///
    /// # Errors
    /// [`ErrorKind::Verification`] if what the code computes differs from the model.
    pub fn to_module(&self, shapes: &Shapes) -> Result<Module> {
        let file = bertscript_process::memory_file().map_err(|error| {
            Error::new(ErrorKind::Io, "cannot make a file in memory").because(error)
        })?;
        let (model, descriptor) = (self.number(), file.as_raw_fd());
        let request = Request::Trace { model, shapes: shapes.clone(), file: descriptor };
        ask(BUILDING, &request, Vec::new())?;
        Module::from_file(file, Device::Cpu, None)
    }
}
