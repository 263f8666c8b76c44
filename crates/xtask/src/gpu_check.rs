//! What takes a CUDA device to be shown, as a folder that can be carried to one.

use crate::command::{cargo, output, run};
use crate::{announce, demo, python, root, setup};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Check everything that takes a CUDA device: numbers, streams, memory, load order
///
/// Builds a folder with programs, models and a script. With a device here, it runs;
/// otherwise the folder can be carried to a machine that has one, and a libtorch
/// 2.11.0 for CUDA, which is all that the script needs.
#[derive(Args)]
pub(crate) struct GpuCheck {
    /// The folder
    #[arg(long, value_name = "DIR", default_value = "target/gpu-check")]
    output: PathBuf,
}

const SCRIPT: &str = r#"#!/bin/sh
# Checks everything that takes a CUDA device: run.sh LIBTORCH [FILTER]
# LIBTORCH is a libtorch 2.11.0 for CUDA, or the folder `torch` of a PyTorch 2.11.0.
here=$(cd "$(dirname "$0")" && pwd)
if [ ! -f "$1/lib/libtorch_cuda.so" ]; then
    echo "usage: run.sh LIBTORCH [FILTER], where LIBTORCH/lib/libtorch_cuda.so is" >&2
    exit 2
fi
export LD_LIBRARY_PATH="$here/lib:$1/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec "$here/bin/gpu-check" run "$here/data" ${2:+"$2"}
"#;

impl GpuCheck {
    pub(crate) fn execute(&self) -> Result<()> {
        setup::setup()?;
        let folder = root().join(&self.output);
        self.prepare(&folder)?;
        let command = folder.join("bin/bertscript");
        let found = output(Command::new(&command).args(["devices", "--json"]))
            .context("the command cannot list devices")?;
        let found: serde_json::Value = serde_json::from_str(&found)?;
        if let Some(reason) = found["cuda_unavailable"].as_str() {
            bail!(
                "nothing was checked, there is no CUDA device: {reason}\n{0} is ready: on a machine \
                 with a device, run {0}/run.sh LIBTORCH",
                self.output.display()
            );
        }
        announce("checks on cuda:0");
        run(Command::new(folder.join("run.sh")).arg(root().join(".libtorch/torch")))
    }

    /// Builds the programs and what they run on.
    fn prepare(&self, folder: &Path) -> Result<()> {
        announce("building the checks");
        for arguments in [
            ["--package", "bertscript-cli", "--bin", "bertscript"],
            ["--package", "libbertscript", "--lib", "--quiet"],
            ["--package", "libbertscript_torch", "--lib", "--quiet"],
            ["--package", "libbertscript_cuda", "--lib", "--quiet"],
            ["--package", "bertscript-tests", "--bin", "gpu-check"],
            ["--package", "bertscript", "--example", "throughput"],
        ] {
            run(cargo(["build", "--release", "--locked"]).args(arguments))?;
        }
        if folder.exists() {
            fs::remove_dir_all(folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        for part in ["bin", "lib", "data"] {
            fs::create_dir_all(folder.join(part))
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let built = root().join("target/release");
        for (file, place) in [
            ("bertscript", "bin/bertscript"),
            ("gpu-check", "bin/gpu-check"),
            ("examples/throughput", "bin/throughput"),
            ("libbertscript_cuda.so", "lib/libbertscript_cuda.so"),
            ("libbertscript_torch.so", "lib/libbertscript_torch.so"),
            ("libbertscript.so", "lib/libbertscript.so.0.1"),
        ] {
            fs::copy(built.join(file), folder.join(place))
                .with_context(|| format!("cannot copy {file}"))?;
        }
        std::os::unix::fs::symlink("libbertscript.so.0.1", folder.join("lib/libbertscript.so"))?;
        run(Command::new("cc")
            .args(["-std=c99", "-O2", "-o"])
            .arg(folder.join("bin/embed-c"))
            .arg(root().join("examples-c/embed.c"))
            .arg("-I")
            .arg(root().join("include"))
            .arg("-L")
            .arg(folder.join("lib"))
            .args(["-lbertscript", "-Wl,-rpath,$ORIGIN/../lib"]))?;
        run(Command::new(folder.join("bin/gpu-check"))
            .arg("prepare")
            .arg(folder.join("data"))
            .env("LD_LIBRARY_PATH", root().join(".libtorch/torch/lib")))?;
        let reference = root().join("tests/reference");
        fs::copy(reference.join("bench_cuda.py"), folder.join("bench_cuda.py"))?;
        fs::copy(demo::minilm()?.join("vocab.txt"), folder.join("data/vocab.txt"))?;
        let texts = reference.join("bench_texts.py");
        let fetch =
            run(Command::new(python::interpreter()?).arg(texts).arg(folder.join("data/texts.txt")));
        if let Err(error) = fetch {
            announce(&format!("SKIPPED: texts for bench_cuda.py, which takes --texts ({error})"));
        }
        let script = folder.join("run.sh");
        fs::write(&script, SCRIPT)?;
        run(Command::new("chmod").arg("+x").arg(&script))
    }
}
