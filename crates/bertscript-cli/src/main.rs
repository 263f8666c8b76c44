//! The `bertscript` command.

mod bench;
mod devices;
mod embed;
mod export;
mod generate;
mod inspect;
mod npz;
mod options;
mod output;
mod predict;
mod process;
mod progress;
mod quantize;
mod run;
mod sink;
mod stream;
mod text;
mod tokenize;
mod verify;

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// Turn a Hugging Face checkpoint of BERT or another encoder into one portable TorchScript
/// file, and run it, without Python.
#[derive(Parser)]
#[command(name = "bertscript", version, arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  bertscript export ./all-MiniLM-L6-v2 -o minilm.pt
  bertscript inspect minilm.pt
  bertscript verify minilm.pt --checkpoint ./all-MiniLM-L6-v2
  bertscript embed minilm.pt --input texts.txt --output texts.npy
  bertscript predict sentiment.pt 'What a film!'
  bertscript run minilm.pt --inputs in.safetensors --outputs out.safetensors

Exit codes: 0 done, 1 failed, 2 wrong usage.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Export(export::Export),
    Inspect(inspect::Inspect),
    Embed(embed::Embed),
    Predict(predict::Predict),
    Tokenize(tokenize::Tokenize),
    Run(run::Run),
    Verify(verify::Verify),
    Bench(bench::Bench),
    Devices(devices::List),
    Completions(generate::Completions),
    Man(generate::Man),
}

impl Command {
    /// Whether it prints results, whatever its options.
    fn always_prints(&self) -> bool {
        !matches!(self, Self::Embed(_) | Self::Man(_))
    }

    fn execute(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Export(command) => command.execute(),
            Self::Inspect(command) => command.execute(),
            Self::Embed(command) => command.execute(),
            Self::Predict(command) => command.execute(),
            Self::Tokenize(command) => command.execute(),
            Self::Run(command) => command.execute(),
            Self::Verify(command) => command.execute(),
            Self::Bench(command) => command.execute(),
            Self::Devices(command) => command.execute(),
            Self::Completions(command) => command.execute(&mut Cli::command()),
            Self::Man(command) => command.execute(Cli::command()),
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) if error.use_stderr() => error.exit(),
        Err(help) => {
            output::require_stdout()?;
            output::printed(help.print())?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    if command.always_prints() {
        output::require_stdout()?;
    }
    command.execute()
}

fn main() -> ExitCode {
    process::ignore_file_size_signal();
    match run() {
        Ok(code) => code,
        Err(error) => {
            output::say(&format!("error: {error}"));
            for cause in error.chain().skip(1) {
                output::say(&format!("  because: {cause}"));
            }
            ExitCode::FAILURE
        }
    }
}
