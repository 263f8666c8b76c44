//! Modules of code that was traced here, and saving.

use super::Module;
use crate::archive::Archive;
use crate::device::Device;
use crate::engine::{Choice, Source};
use crate::error::{Error, ErrorKind, Result};
use std::path::Path;
use torchscript::ScriptModule;

impl Module {
    /// Makes code that was just traced ready to run, and to be saved.
    ///
    /// # Errors
    /// [`ErrorKind::Archive`] if the code has no `forward`.
    pub fn from_script(script: ScriptModule, archive: Archive) -> Result<Self> {
        let source = Source::of_script(script, Some(archive), Device::Cpu, None)?;
        Self::from_source(source, Choice::default())
    }

    /// Writes the archive to a file, whole or not at all; its weights are saved
    /// for the CPU, wherever they are. Engine and precision are no properties of an archive.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a third-party archive, of which not
    /// everything is known, and for weights that were cast after loading;
    /// those of [`Archive::save`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let unsupported = |message: &str| Error::new(ErrorKind::Unsupported, message);
        let Source { archive, device, dtype, .. } = &*self.source;
        let Some(archive) = archive else {
            return Err(unsupported("a third-party archive cannot be saved; copy the file"));
        };
        if archive.metadata().dtype()? != *dtype {
            let message = "the weights were cast after loading: export with that dtype instead";
            return Err(unsupported(message));
        }
        let script = self.source.script()?;
        if *device == Device::Cpu {
            return archive.save(script, path);
        }
        let mut script = script.try_clone()?;
        script.to(Some(tch::Device::Cpu), None)?;
        archive.save(&script, path)
    }
}
