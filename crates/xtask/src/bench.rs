//! The measurements that docs/ states.

use crate::command::{cargo, run};
use crate::oracles::{self, Oracles};
use crate::{announce, demo, root, setup};
use anyhow::Result;
use std::process::Command;

pub(crate) fn bench() -> Result<()> {
    setup::setup()?;
    let oracles = Oracles::install()?;
    let minilm = demo::minilm()?;
    announce("building for release");
    run(&mut cargo(["build", "--release", "--workspace", "--bins", "--examples"]))?;
    let release = root().join("target/release");

    announce("encoding, beside Python (docs/text.md)");
    let script = oracles::folder().join("bench_encoding.py");
    let encode = release.join("examples/encode");
    run(oracles.command().arg(script).arg(encode).arg(&minilm).env("BERTSCRIPT_MINILM", &minilm))?;
    announce("what padding costs (docs/fixed-shapes.md)");
    run(Command::new(release.join("examples/padding")).arg(minilm))?;
    announce("export and load, beside Python (docs/export.md)");
    let script = oracles::folder().join("bench_export.py");
    run(oracles.command().arg(script).arg(release.join("bertscript")))
}
