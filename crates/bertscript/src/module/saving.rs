//! Modules of code that was traced here, and saving.

use super::Module;
use crate::atomic_file::WholeFile;
use crate::engine::Source;
use crate::error::{Error, ErrorKind, Result};
use std::path::Path;

#[cfg(feature = "torch")]
impl Module {
    /// Makes code that was just traced ready to run, and to be saved.
    ///
    /// # Errors
    /// [`ErrorKind::Archive`] if the code has no `forward`.
    pub fn from_script(
        script: torchscript::ScriptModule,
        archive: crate::archive::Archive,
    ) -> Result<Self> {
        let source = Source::of_script(script, Some(archive), crate::device::Device::Cpu, None)?;
        Self::from_source(source, crate::engine::Choice::default())
    }
}

impl Module {
    /// Writes the archive to a file, whole or not at all: of one that was loaded the same
    /// bytes. Device, engine and precision are no properties of an archive.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a third-party archive, of which not
    /// everything is known, and for weights that were cast after loading;
    /// [`ErrorKind::InvalidInput`] if `path` is something other than a regular file,
    /// [`ErrorKind::Io`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let unsupported = |message: &str| Error::new(ErrorKind::Unsupported, message);
        let Source { archive, dtype, .. } = &*self.source;
        let Some(archive) = archive else {
            return Err(unsupported("a third-party archive cannot be saved; copy the file"));
        };
        if archive.metadata().dtype()? != *dtype {
            let message = "the weights were cast after loading: export with that dtype instead";
            return Err(unsupported(message));
        }
        let Some(file) = self.source.file() else { return self.save_script(archive, path) };
        let mut whole = WholeFile::create(path)?;
        file.copy_to(&mut whole, path)?;
        whole.finish()
    }

    /// Writes what was traced here; its weights are saved for the CPU, wherever they are.
    #[cfg(feature = "torch")]
    fn save_script(&self, archive: &crate::archive::Archive, path: &Path) -> Result<()> {
        let script = self.source.script()?;
        if self.source.device == crate::device::Device::Cpu {
            return archive.save(script, path);
        }
        let mut script = script.try_clone()?;
        script.to(Some(tch::Device::Cpu), None)?;
        archive.save(&script, path)
    }

    /// Without libtorch, nothing is traced here.
    #[cfg(not(feature = "torch"))]
    fn save_script(&self, _: &crate::archive::Archive, _: &Path) -> Result<()> {
        Err(Error::new(ErrorKind::Archive, "the archive has no file"))
    }
}
