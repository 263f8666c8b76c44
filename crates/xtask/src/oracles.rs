//! The Python programs that results are compared with.

use crate::{python, root};
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;

/// The environment of the oracles, made when it is first needed.
pub(crate) struct Oracles {
    python: PathBuf,
    legacy: PathBuf,
}

impl Oracles {
    pub(crate) fn install() -> Result<Self> {
        let requirements = folder().join("requirements.txt");
        let python = python::environment(".oracle", &requirements, 8)?;
        // Question answering left transformers with version 5.
        let legacy = root().join(".oracle/legacy");
        if !legacy.is_dir() {
            let requirements = folder().join("requirements-legacy.txt");
            python::install_into(&legacy, 1, &["-r".as_ref(), requirements.as_os_str()])?;
        }
        Ok(Self { python, legacy })
    }

    /// Python, with what the scripts want to know.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.python);
        command
            .current_dir(root())
            .env("BERTSCRIPT_LEGACY_TRANSFORMERS", &self.legacy)
            .env("HF_HUB_OFFLINE", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// Python with the programs that bertscript is measured against, in an environment
/// of their own, made when it is first needed.
pub(crate) fn peers() -> Result<Command> {
    let requirements = folder().join("requirements-peers.txt");
    let mut command = Command::new(python::environment(".peers", &requirements, 9)?);
    command.current_dir(root()).env("HF_HUB_OFFLINE", "1").env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// Where the scripts are.
pub(crate) fn folder() -> PathBuf {
    root().join("tests/reference")
}
