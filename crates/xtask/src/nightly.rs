//! Nightly Rust, which sanitizers, Miri and fuzzing take.

use crate::announce;
use crate::command::{output, run};
use anyhow::{Context, Result};
use std::process::Command;

/// Cargo of nightly Rust, in the repository's root.
pub(crate) fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = nightly("cargo");
    command.args(arguments);
    command
}

/// Gets nightly Rust with some components, where it or they are missing.
pub(crate) fn install(components: &[&str]) -> Result<()> {
    let list = ["component", "list", "--installed", "--toolchain", "nightly"];
    let installed = output(Command::new("rustup").args(list)).unwrap_or_default();
    let is_there = |component: &&str| installed.lines().any(|line| line.starts_with(*component));
    if output(nightly("rustc").arg("--version")).is_some() && components.iter().all(is_there) {
        return Ok(());
    }
    announce("installing nightly Rust");
    let mut rustup = Command::new("rustup");
    rustup.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
    for component in components {
        rustup.args(["--component", component]);
    }
    run(&mut rustup)
}

/// The platform that nightly Rust runs on, such as `x86_64-unknown-linux-gnu`.
pub(crate) fn host() -> Result<String> {
    let version = output(nightly("rustc").arg("-vV")).context("nightly Rust does not start")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("nightly Rust does not say what it runs on")?.to_owned())
}

fn nightly(program: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", program]).current_dir(crate::root());
    command
}
