//! From a model of libtorch's to an archive, or to a module.

use crate::archive::Archive;
use crate::atomic_file;
use crate::device::Device;
use crate::error::{Error, ErrorKind, Result};
use crate::models::PreTrained;
use crate::module::Module;
use crate::shapes::Shapes;
use crate::trace::{record, trace, verify};
use crate::verify::one_batch;
use std::fs::File;
use std::path::Path;
use std::sync::mpsc;

impl PreTrained {
    /// Traces the model and writes it to `file`, with what stood beside its weights in the
    /// checkpoint. It is what [`trace`](crate::trace()), [`Archive::new`] and
    /// [`Archive::save`] do, but writing overlaps verification. Then the file is loaded as
    /// [`Module::load`] does, and compared with the model, too. It appears once all is
    /// verified.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if `file` is a file of the checkpoint that the model was
    /// loaded from ([`PreTrained::from_checkpoint`]), or something
    /// other than a regular file; those of [`trace`](crate::trace()) and [`Archive::save`];
    /// and [`ErrorKind::Verification`] if what the file computes differs from the model.
    pub fn export(&self, shapes: &Shapes, file: impl AsRef<Path>) -> Result<Archive> {
        write(self, shapes, file.as_ref())
    }

    /// Traces the model to a module that runs on the CPU, and that [`Module::save`] writes: what
    /// [`trace`](crate::trace()) and [`Module::from_script`] do.
    ///
    /// # Errors
    /// Theirs.
    pub fn to_module(&self, shapes: &Shapes) -> Result<Module> {
        Module::from_script(trace(self, shapes)?, Archive::new(self, shapes)?)
    }
}

fn write(model: &PreTrained, shapes: &Shapes, path: &Path) -> Result<Archive> {
    atomic_file::check_output(path, model.files()?)?;
    let _entered = torchscript::enter()?;
    let script = record(model, shapes)?;
    let archive = Archive::without_digest(model, shapes)?;
    atomic_file::write(path, |temporary| {
        let (is_written, written_file) = mpsc::channel();
        let script = &script;
        let write = move || -> Result<Archive> {
            let archive = archive.with_digest_of(script)?;
            archive.write(script, temporary)?;
            let _ = is_written.send(());
            // Here already, so that the disk need not be waited for later.
            File::open(temporary)
                .and_then(|file| file.sync_all())
                .map_err(|error| Error::io(path, "write the archive", error))?;
            Ok(archive)
        };
        std::thread::scope(|scope| {
            let writer =
                std::thread::Builder::new().spawn_scoped(scope, write).map_err(|error| {
                    Error::new(ErrorKind::Io, "cannot start a thread").because(error)
                })?;
            let verified = verify(script, model, shapes).and_then(|()| match written_file.recv() {
                Ok(()) => one_batch(&Module::load(temporary, Device::Cpu, None)?, model),
                // It failed, and says why when it is joined.
                Err(_) => Ok(()),
            });
            let archive = writer
                .join()
                .unwrap_or_else(|panic| Err(Error::from(torchscript::Error::from_panic(&*panic))));
            verified?;
            archive
        })
    })
}
