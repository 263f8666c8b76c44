//! The measurements that docs/ states.

use crate::command::{cargo, run};
use crate::{announce, demo, python, root, setup};
use anyhow::Result;
use std::process::Command;

pub(crate) fn bench() -> Result<()> {
    setup::setup()?;
    let directory = root().join("tests/reference");
    let python = python::environment(".oracle", &directory.join("requirements.txt"), 8)?;
    let minilm = demo::minilm()?;
    announce("building for release");
    run(&mut cargo(["build", "--release", "--workspace", "--bins", "--examples"]))?;
    let release = root().join("target/release");

    announce("what padding costs (docs/fixed-shapes.md)");
    run(Command::new(release.join("examples/padding")).arg(minilm))?;
    announce("export and load, beside Python (docs/export.md)");
    run(Command::new(python)
        .arg(directory.join("bench_export.py"))
        .arg(release.join("bertscript"))
        .env("HF_HUB_OFFLINE", "1"))
}
