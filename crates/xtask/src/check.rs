//! What CI runs before the tests, in the order of what fails fastest.

use crate::command::{cargo, run};
use crate::test::WITHOUT_TORCH;
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
    announce("lints without libtorch");
    run(cargo(["clippy", "--locked", "--no-default-features", "--lib", "--tests"])
        .args(WITHOUT_TORCH.iter().flat_map(|package| ["--package", package]))
        .args(["--", "-D", "warnings"]))?;
    announce("documentation");
    run(cargo(["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"])
        .env("RUSTDOCFLAGS", "-D warnings"))
}
