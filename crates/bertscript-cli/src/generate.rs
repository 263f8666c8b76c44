//! `bertscript completions` and `bertscript man`

use crate::output;
use anyhow::Context;
use clap::Args;
use clap_complete::Shell;
use std::path::PathBuf;
use std::process::ExitCode;

/// Print the completions of a shell.
///
/// For bash: bertscript completions bash > ~/.local/share/bash-completion/completions/bertscript
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn execute(self, command: &mut clap::Command) -> anyhow::Result<ExitCode> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, command, "bertscript", &mut text);
        output::print(&String::from_utf8(text)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Write the manual pages, one for each command, into a directory.
#[derive(Args)]
pub(crate) struct Man {
    /// The directory, such as ~/.local/share/man/man1
    directory: PathBuf,
}

impl Man {
    pub(crate) fn execute(self, command: clap::Command) -> anyhow::Result<ExitCode> {
        let place = self.directory.display();
        std::fs::create_dir_all(&self.directory).with_context(|| format!("cannot make {place}"))?;
        clap_mangen::generate_to(command, &self.directory)
            .with_context(|| format!("cannot write to {place}"))?;
        Ok(ExitCode::SUCCESS)
    }
}
