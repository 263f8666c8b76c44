//! The `bertscript` command.

mod bench;
mod devices;
mod embed;
mod export;
mod generate;
mod inspect;
mod output;
mod predict;
mod progress;
mod run;
mod sink;
mod stream;
mod text;
mod tokenize;
mod verify;

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// Turn a Hugging Face BERT checkpoint into one portable TorchScript file, and
/// run it, without Python.
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

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Export(command) => command.execute(),
        Command::Inspect(command) => command.execute(),
        Command::Embed(command) => command.execute(),
        Command::Predict(command) => command.execute(),
        Command::Tokenize(command) => command.execute(),
        Command::Run(command) => command.execute(),
        Command::Verify(command) => command.execute(),
        Command::Bench(command) => command.execute(),
        Command::Devices(command) => command.execute(),
        Command::Completions(command) => command.execute(&mut Cli::command()),
        Command::Man(command) => command.execute(Cli::command()),
    };
    match done {
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
