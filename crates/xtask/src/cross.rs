//! The tests that need no libtorch on the other architecture, emulated.

use crate::command::{cargo, run};
use crate::target::Target;
use crate::{announce, demo, root, setup};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What runs: a package, and what cargo is told of its tests.
const TESTS: [(&str, &[&str]); 5] = [
    ("bertscript-kernels", &[]),
    ("bertscript-plugin", &["--lib"]),
    ("bertscript-process", &[]),
    ("torchscript-reader", &["--lib"]),
    ("bertscript-runtime", &["--lib"]),
];
/// How far the embeddings of two architectures may be apart; they have length 1.
const TOLERANCE: f64 = 1e-5;
const TEXTS: &str = "A man is eating pasta.\nÇa va, 你好? It's 5 o'clock.\n\nThe violin is out of \
                     tune, and has been for longer than anybody here is able to remember.\n";

pub(crate) fn cross() -> Result<()> {
    let target = Target::other()?;
    let arch = target.arch()?.name();
    for (package, tests) in TESTS {
        announce(&format!("tests of {package} on {arch}"));
        run(target.cargo("test")?.args(["--locked", "--package", package]).args(tests))?;
    }
    announce(&format!("embeddings of all-MiniLM-L6-v2 on {arch}"));
    setup::setup()?;
    run(&mut cargo(["build", "--workspace", "--all-targets", "--locked"]))?;
    run(target.cargo("build")?.args(["--locked", "--package", "bertscript-cli"]))?;
    let folder = root().join("target/cross");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (archive, texts) = (folder.join("minilm.pt"), folder.join("texts.txt"));
    fs::write(&texts, TEXTS)?;
    let here = root().join("target/debug/bertscript");
    run(Command::new(&here).arg("export").arg(demo::minilm()?).arg("-o").arg(&archive))?;
    let embed = |mut command: Command, name: &str| {
        let file = folder.join(name);
        command.arg("embed").arg(&archive).arg("--input").arg(&texts);
        command.arg("--output").arg(&file);
        run(&mut command)?;
        embeddings(&file)
    };
    let expected = embed(Command::new(&here), "here.jsonl")?;
    let there = target.folder("debug")?.join("bertscript");
    let found = embed(target.program(&there)?, "there.jsonl")?;
    let apart = farthest(&expected, &found).context("the embeddings differ in number")?;
    println!("{} values, at most {apart:.1e} apart", found.len());
    if apart > TOLERANCE {
        bail!("the embeddings of {arch} are {apart:.1e} apart, expected at most {TOLERANCE:.0e}");
    }
    Ok(())
}

/// All values of a file of embeddings, one text per line.
fn embeddings(file: &Path) -> Result<Vec<f64>> {
    let text = fs::read_to_string(file)?;
    values(&text).with_context(|| format!("{} is not understood", file.display()))
}

fn values(text: &str) -> Option<Vec<f64>> {
    let rows = text.lines().map(|line| {
        let row: Value = serde_json::from_str(line).ok()?;
        row["embedding"].as_array()?.iter().map(Value::as_f64).collect::<Option<Vec<_>>>()
    });
    Some(rows.collect::<Option<Vec<_>>>()?.concat())
}

/// The greatest difference; none of NaN is small.
fn farthest(expected: &[f64], found: &[f64]) -> Option<f64> {
    if expected.len() != found.len() || expected.is_empty() {
        return None;
    }
    let differences = expected.iter().zip(found).map(|(a, b)| (a - b).abs());
    differences.max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::{farthest, values};

    #[test]
    fn embeddings_are_read() {
        let text = "{\"embedding\":[0.5,-1.0]}\n{\"embedding\":[2.0,3e-1]}\n";
        assert_eq!(values(text), Some(vec![0.5, -1., 2., 0.3]));
        assert_eq!(values("{\"error\":\"\"}"), None);
    }

    #[test]
    fn differences_are_found() {
        assert_eq!(farthest(&[1.0, 2.0], &[1.5, 2.25]), Some(0.5));
        assert_eq!(farthest(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(farthest(&[], &[]), None);
        assert!(farthest(&[1.0, 2.0], &[f64::NAN, 2.0]).is_some_and(f64::is_nan));
    }
}
