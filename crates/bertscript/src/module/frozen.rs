//! The code of an archive with its weights as constants.

use super::Module;
#[cfg(not(feature = "torch"))]
use crate::engine::EngineKind;
use crate::error::{Error, ErrorKind, Result};
#[cfg(not(feature = "torch"))]
use crate::plugin::{Request, ask};
use std::fs::File;

impl Module {
    /// The archive's code with its weights as constants (`torch.jit.freeze`), which libtorch runs:
    /// a third-party archive in memory.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn frozen(&self) -> Result<Self> {
        let file = bertscript_process::memory_file().map_err(|error| {
            Error::new(ErrorKind::Io, "cannot make a file in memory").because(error)
        })?;
        self.freeze(&file)?;
        Self::from_file(file, self.device(), Some(self.dtype()))
    }

    #[cfg(feature = "torch")]
    fn freeze(&self, file: &File) -> Result<()> {
        self.write_frozen(file)
    }

    #[cfg(not(feature = "torch"))]
    fn freeze(&self, file: &File) -> Result<()> {
        let module = self.source.remote(EngineKind::TorchScript)?;
        let file = std::os::fd::AsRawFd::as_raw_fd(file);
        let request = Request::Freeze { module: module.number(), file };
        ask("a frozen module", &request, Vec::new()).map(drop)
    }

    /// Writes [`Self::frozen`] to a file.
    #[cfg(feature = "torch")]
    pub(crate) fn write_frozen(&self, file: impl std::io::Write) -> Result<()> {
        let mut script = self.source.script()?.try_clone()?;
        script.eval()?;
        Ok(script.freeze(&[])?.save(file, &[])?)
    }
}
