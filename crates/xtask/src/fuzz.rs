//! What reads files of strangers, given what libFuzzer makes up.

use crate::command::{cargo, output, run};
use crate::{announce, root, setup};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Feed what reads untrusted files with inputs that libFuzzer makes up, under a
/// sanitizer; takes a nightly Rust
#[derive(Args)]
pub(crate) struct Fuzz {
    /// One of fuzz/fuzz_targets; all of them if none
    target: Option<String>,
    /// How long each runs
    #[arg(long, default_value_t = 10)]
    minutes: u64,
}

/// Limits that no input of a few kilobytes may reach.
const LIMITS: [&str; 3] = ["-rss_limit_mb=2048", "-malloc_limit_mb=256", "-timeout=20"];

impl Fuzz {
    pub(crate) fn execute(&self) -> Result<()> {
        let known = targets()?;
        let targets = match &self.target {
            None => known,
            Some(target) if known.contains(target) => vec![target.clone()],
            Some(target) => bail!("found the target {target}, expected {}", known.join(", ")),
        };
        setup::setup()?;
        install()?;
        for target in targets {
            announce(&format!("fuzzing {target} for {} minutes", self.minutes));
            self.fuzz(&target)?;
        }
        Ok(())
    }

    fn fuzz(&self, target: &str) -> Result<()> {
        // libFuzzer adds what it finds to the first folder, and reads both.
        let found = root().join("target/fuzz/corpus").join(target);
        fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
        let mut command = Command::new("rustup");
        command
            .args(["run", "nightly", "cargo", "fuzz", "run", "--fuzz-dir", "fuzz", target])
            .args([found, root().join("fuzz/corpus").join(target)])
            .arg("--")
            .arg(format!("-max_total_time={}", self.minutes * 60))
            .args(LIMITS);
        run(command.env("CARGO_TARGET_DIR", root().join("target/fuzz")).current_dir(root()))
    }
}

/// The programs in `fuzz`, by name.
fn targets() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))?;
    let mut targets = Vec::new();
    for entry in entries {
        let path: PathBuf = entry?.path();
        targets.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    targets.sort();
    Ok(targets)
}

/// Gets nightly Rust and cargo-fuzz, where they are missing.
fn install() -> Result<()> {
    if output(Command::new("rustup").args(["run", "nightly", "rustc", "--version"])).is_none() {
        announce("installing nightly Rust");
        let arguments = ["toolchain", "install", "nightly", "--profile", "minimal"];
        run(Command::new("rustup").args(arguments))?;
    }
    if output(&mut cargo(["fuzz", "--version"])).is_none() {
        announce("installing cargo-fuzz");
        run(&mut cargo(["install", "--locked", "cargo-fuzz"]))?;
    }
    Ok(())
}
