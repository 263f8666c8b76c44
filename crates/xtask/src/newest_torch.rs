//! Archives in the newest torch that the package index has.

use crate::command::{cargo, run};
use crate::{announce, oracles, python, root, setup};
use anyhow::Result;
use std::process::Command;

pub(crate) fn newest_torch() -> Result<()> {
    setup::setup()?;
    announce("building");
    run(&mut cargo(["build", "--workspace", "--lib", "--bin", "bertscript", "--locked"]))?;
    // With the CUDA libraries that torch of the index does not load without.
    let requirements = oracles::folder().join("requirements-newest.txt");
    let python = python::environment(".newest", &requirements, 12)?;
    announce("torch.jit.load of the newest torch");
    run(Command::new(python)
        .arg(oracles::folder().join("newest_torch.py"))
        .arg(root().join("target/debug/bertscript"))
        .arg(root().join("tests/fixtures"))
        .env("PYTHONDONTWRITEBYTECODE", "1"))
}
