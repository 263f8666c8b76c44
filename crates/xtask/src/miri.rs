//! The handles of the C ABI in Rust's own interpreter, which finds what a
//! sanitizer cannot: broken aliasing, and races that did not happen.

use crate::command::run;
use crate::{announce, root};
use anyhow::{Result, bail};
use std::process::{Command, Stdio};

pub(crate) fn miri() -> Result<()> {
    announce("handles under Miri");
    let found = nightly().arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        bail!(
            "Miri is not installed: rustup toolchain install nightly --component miri --component \
             rust-src"
        );
    }
    run(nightly()
        .args(["test", "--locked", "--package", "bertscript-ffi", "--test", "handles_alone"])
        // They read a tokenizer's files.
        .env("MIRIFLAGS", "-Zmiri-disable-isolation")
        .env("CARGO_TARGET_DIR", root().join("target/miri"))
        .current_dir(root()))
}

fn nightly() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "miri"]);
    command
}
