//! What CI runs before the tests, in the order of what fails fastest.

use crate::command::{cargo, run};
use crate::target::Arch;
use crate::{abi, announce, deny, header, setup, tidy};
use anyhow::Result;

pub(crate) fn check() -> Result<()> {
    announce("formatting");
    run(&mut cargo(["fmt", "--all", "--check"]))?;
    tidy::tidy()?;
    deny::deny()?;
    header::header(true)?;
    abi::check()?;
    setup::setup()?;
    announce("lints");
    run(&mut cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))?;
    announce("lints of the kernels for AArch64");
    // Needs no linker: nothing is built but the interface of `libc`.
    run(&mut cargo([
        "clippy",
        "--package",
        "bertscript-kernels",
        "--lib",
        "--target",
        &Arch::Aarch64.installed()?,
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))?;
    announce("documentation");
    run(cargo(["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"])
        .env("RUSTDOCFLAGS", "-D warnings"))
}
