//! `bertscript completions` and `bertscript man`

use crate::output;
use anyhow::Context;
use bertscript::WholeFile;
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
        let mut command = command.disable_help_subcommand(true);
        command.build();
        self.write(&command)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Writes the page of a command and those of its subcommands.
    fn write(&self, command: &clap::Command) -> anyhow::Result<()> {
        for subcommand in command.get_subcommands().filter(|command| !command.is_hide_set()) {
            self.write(subcommand)?;
        }
        let page = clap_mangen::Man::new(command.clone());
        let path = self.directory.join(page.get_filename());
        let mut file = WholeFile::create(&path)?;
        page.render(&mut file).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(file.finish()?)
    }
}
