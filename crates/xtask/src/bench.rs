//! The measurements that docs/ states.

use crate::command::{cargo, run};
use crate::install::Install;
use crate::oracles::{self, Oracles};
use crate::{announce, demo, root, setup};
use Measure::{Call, Encoding, Export, Padding, Peers};
use anyhow::Result;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Measure what docs/ states: texts and calls beside peers, encoding, a call from C,
/// what padding costs, export and load. All measures together take hours
#[derive(Args)]
pub(crate) struct Bench {
    /// Some of the measures; all of them if none
    #[arg(value_name = "MEASURE", value_parser = MEASURES.map(|(name, ..)| name))]
    measures: Vec<String>,
}

enum Measure {
    /// Beside peers, interleaved, with these arguments of `bench_peers.py`
    Peers(&'static [&'static str]),
    Encoding,
    Call,
    Padding,
    Export,
}

/// Name, title with the page that states it, and how it is run.
const MEASURES: [(&str, &str, Measure); 13] = [
    ("minilm", "all-MiniLM-L6-v2, real texts (docs/performance.md)", Peers(&["--count", "400"])),
    (
        "bert-base",
        "bert-base, real texts (docs/performance.md)",
        Peers(&["--random", "bert-base", "--count", "128"]),
    ),
    (
        "roberta-base",
        "roberta-base, real texts (docs/performance.md)",
        Peers(&random("roberta-base")),
    ),
    (
        "distilbert-base",
        "distilbert-base, real texts (docs/performance.md)",
        Peers(&random("distilbert-base")),
    ),
    ("mpnet-base", "mpnet-base, real texts (docs/performance.md)", Peers(&random("mpnet-base"))),
    (
        "modernbert-base",
        "modernbert-base, real texts (docs/performance.md)",
        Peers(&random("modernbert-base")),
    ),
    (
        "modernbert-base-4096",
        "modernbert-base, texts of 4,096 tokens (docs/performance.md)",
        Peers(&[
            "--random",
            "modernbert-base",
            "--join",
            "200",
            "--limit",
            "4096",
            "--count",
            "2",
            "--rounds",
            "3",
            "--dtypes",
            "f32",
            "--only",
            "bertscript,openvino,onnxruntime,transformers",
        ]),
    ),
    (
        "minilm-one-text",
        "all-MiniLM-L6-v2, one text (docs/performance.md)",
        Peers(&["--latency", "16,64,128,256"]),
    ),
    (
        "bert-base-one-text",
        "bert-base, one text (docs/performance.md)",
        Peers(&["--random", "bert-base", "--latency", "16,64,128,384"]),
    ),
    ("encoding", "encoding, beside Python (docs/text.md)", Encoding),
    ("call", "a call through the C interface, beside libtorch from C++ (docs/c-api.md)", Call),
    ("padding", "what padding costs (docs/fixed-shapes.md)", Padding),
    ("export", "export and load, beside Python (docs/export.md)", Export),
];

/// Few real texts in float32, embedded by a model with random weights, beside the best peers.
const fn random(model: &'static str) -> [&'static str; 10] {
    [
        "--random",
        model,
        "--count",
        "32",
        "--rounds",
        "3",
        "--dtypes",
        "f32",
        "--only",
        "bertscript,openvino,onnxruntime,transformers",
    ]
}

impl Bench {
    pub(crate) fn execute(&self) -> Result<()> {
        setup::setup()?;
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
        let asked =
            |name: &str| self.measures.is_empty() || self.measures.iter().any(|it| it == name);
        for (_, title, measure) in MEASURES.iter().filter(|(name, ..)| asked(name)) {
            announce(title);
            measure.execute(&release, &minilm)?;
        }
        Ok(())
    }
}

impl Measure {
    fn execute(&self, release: &Path, minilm: &Path) -> Result<()> {
        let script = |name| oracles::folder().join(name);
        match self {
            Peers(arguments) => run(oracles::peers()?
                .arg(script("bench_peers.py"))
                .arg("--side")
                .arg(release.join("examples/throughput"))
                .arg("--checkpoint")
                .arg(minilm)
                .args(*arguments)),
            Encoding => run(Oracles::install()?
                .command()
                .arg(script("bench_encoding.py"))
                .arg(release.join("examples/encode"))
                .arg(minilm)
                .env("BERTSCRIPT_MINILM", minilm)),
            Call => overhead(release, minilm),
            Padding => run(Command::new(release.join("examples/padding")).arg(minilm)),
            Export => run(Oracles::install()?
                .command()
                .arg(script("bench_export.py"))
                .arg(release.join("bertscript"))),
        }
    }
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
