//! The project's own commands. `cargo xtask demo` and `cargo xtask test` do
//! everything from a fresh clone on, set-up included.

mod abi;
mod bench;
mod check;
mod command;
mod cross;
mod demo;
mod deny;
mod dependencies;
mod dist;
mod fixtures;
mod fuzz;
mod gpu_check;
mod header;
mod install;
mod limits;
mod miri;
mod newest_torch;
mod nightly;
mod oracles;
mod python;
mod sbom;
mod setup;
mod soak;
mod target;
mod test;
mod tidy;
mod tsan;

use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The commands of the bertscript repository
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find libtorch 2.11.0, or download it into .libtorch
    Setup {
        /// Have the libraries of CUDA too, to run on a GPU
        #[arg(long)]
        cuda: bool,
    },
    /// Export a small real model to TorchScript, check it and run it
    Demo,
    /// Run all tests
    Test {
        /// Leave out the live check against transformers, which needs a Python
        /// environment of 6 GB in .oracle
        #[arg(long)]
        no_live: bool,
    },
    /// What CI runs before the tests: formatting, tidy, lints, documentation
    Check,
    /// Check the rules of the house: file sizes, names, the direction of imports
    Tidy,
    /// Write include/bertscript/bertscript.h from the functions of the C ABI
    Header {
        /// Only check that it is up to date
        #[arg(long)]
        check: bool,
    },
    /// Describe the C interface as that of a release, which later ones must keep
    Abi,
    /// Run what asks no libtorch under Miri, of a nightly Rust
    Miri,
    /// Run what asks no libtorch on another architecture (aarch64), emulated by qemu
    Cross,
    /// Load exported files in the newest torch, of which .newest (12 GB) is made
    NewestTorch,
    /// Run what has threads under the sanitizer of races, of a nightly Rust
    Tsan,
    Fuzz(fuzz::Fuzz),
    /// Run everything at once, again and again, and watch results and memory
    Soak {
        /// How often every thread does everything
        #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
    },
    GpuCheck(gpu_check::GpuCheck),
    Install(install::Install),
    Dist(dist::Dist),
    /// Remake the files in tests/fixtures with the Python oracle
    Fixtures,
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Setup { cuda: false } => setup::setup(),
        Command::Setup { cuda: true } => setup::setup_with_cuda(),
        Command::Demo => demo::demo(),
        Command::Test { no_live } => test::test(!no_live),
        Command::Check => check::check(),
        Command::Tidy => tidy::tidy(),
        Command::Abi => abi::accept(),
        Command::Header { check } => header::header(check),
        Command::Miri => miri::miri(),
        Command::Cross => cross::cross(),
        Command::NewestTorch => newest_torch::newest_torch(),
        Command::Tsan => tsan::tsan(),
        Command::Fuzz(fuzz) => fuzz.execute(),
        Command::Soak { rounds } => soak::soak(rounds),
        Command::GpuCheck(check) => check.execute(),
        Command::Install(install) => install.execute(),
        Command::Dist(dist) => dist.execute(),
        Command::Fixtures => fixtures::fixtures(),
        Command::Bench(bench) => bench.execute(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the repository.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Says what begins now.
fn announce(what: &str) {
    eprintln!("\n==> {what}");
}
