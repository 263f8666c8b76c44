//! The measurements that docs/ states.

use crate::command::{cargo, run};
use crate::install::Install;
use crate::oracles::{self, Oracles};
use crate::{announce, demo, root, setup};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn bench() -> Result<()> {
    setup::setup()?;
    let oracles = Oracles::install()?;
    let minilm = demo::minilm()?;
    announce("building for release");
    run(&mut cargo([
        "build",
        "--release",
        "--workspace",
        "--lib",
        "--bins",
        "--examples",
        "--locked",
    ]))?;
    let release = root().join("target/release");

    beside_peers(&release, &minilm)?;
    announce("encoding, beside Python (docs/text.md)");
    let script = oracles::folder().join("bench_encoding.py");
    let encode = release.join("examples/encode");
    run(oracles.command().arg(script).arg(encode).arg(&minilm).env("BERTSCRIPT_MINILM", &minilm))?;
    announce("a call through the C interface, beside libtorch from C++ (docs/c-api.md)");
    overhead(&release, &minilm)?;
    announce("what padding costs (docs/fixed-shapes.md)");
    run(Command::new(release.join("examples/padding")).arg(minilm))?;
    announce("export and load, beside Python (docs/export.md)");
    let script = oracles::folder().join("bench_export.py");
    run(oracles.command().arg(script).arg(release.join("bertscript")))
}

/// Embeds real texts, in turns with every peer; and one text alone.
fn beside_peers(release: &Path, minilm: &Path) -> Result<()> {
    let measures: [(&str, &[&str]); 4] = [
        ("all-MiniLM-L6-v2, real texts", &["--count", "400"]),
        ("bert-base, real texts", &["--count", "128", "--random-base"]),
        ("all-MiniLM-L6-v2, one text", &["--latency", "16,64,128,256"]),
        ("bert-base, one text", &["--latency", "16,64,128,384", "--random-base"]),
    ];
    for (title, arguments) in measures {
        announce(&format!("{title}, beside peers (docs/performance.md)"));
        run(oracles::peers()?
            .arg(oracles::folder().join("bench_peers.py"))
            .arg("--side")
            .arg(release.join("examples/throughput"))
            .arg("--checkpoint")
            .arg(minilm)
            .args(arguments))?;
    }
    Ok(())
}

/// Compiles `tests/c/overhead.cc` against the library and its libtorch.
fn overhead(release: &Path, minilm: &Path) -> Result<()> {
    let folder = root().join("target/overhead");
    let lib = folder.join("prefix");
    Install::into(lib.clone()).execute()?;
    let torch = root().join(".libtorch/torch");
    let path = |path: PathBuf| path.into_os_string();
    let rpath = |folder: PathBuf| format!("-Wl,-rpath,{}", folder.display());
    let program = folder.join("overhead");
    run(Command::new("c++")
        .args(["-std=c++17", "-O2", "tests/c/overhead.cc", "-Iinclude", "-isystem"])
        .arg(path(torch.join("include")))
        .arg("-isystem")
        .arg(path(torch.join("include/torch/csrc/api/include")))
        .arg("-L")
        .arg(lib.join("lib"))
        .arg("-L")
        .arg(torch.join("lib"))
        .args(["-lbertscript", "-ltorch_cpu", "-lc10"])
        .args([rpath(lib.join("lib")), rpath(torch.join("lib"))])
        .arg("-o")
        .arg(&program)
        .current_dir(root()))?;
    let file = folder.join("minilm.pt");
    run(Command::new(release.join("bertscript"))
        .arg("export")
        .arg(minilm)
        .arg("-o")
        .arg(&file)
        .stdout(std::process::Stdio::null()))?;
    run(Command::new(program).arg(file).arg("3000"))
}
