//! All tests, and one count at the end.

use crate::command::{cargo, run};
use crate::oracles::{self, Oracles};
use crate::{announce, demo, root, setup};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Results of a test runner.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

pub(crate) fn test(live: bool) -> Result<()> {
    setup::setup()?;
    announce("building");
    run(&mut cargo(["build", "--workspace", "--all-targets", "--locked"]))?;

    announce("cargo test --workspace");
    let mut rust = cargo(["test", "--workspace", "--no-fail-fast", "--locked"]);
    let (mut counts, mut succeeded) = watch(&mut rust, cargo_counts)?;
    if live {
        let (found, passed) = live_check()?;
        counts = counts + found;
        succeeded &= passed;
    }
    if !succeeded && counts.failed == 0 {
        // A runner that died before it could count is a failure too.
        counts.failed = 1;
    }
    println!("\n{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped);
    if counts.failed > 0 {
        bail!("some tests failed");
    }
    if counts.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

/// The comparison with transformers and `torch.jit.load`, freshly computed.
fn live_check() -> Result<(Counts, bool)> {
    let oracles = Oracles::install()?;
    let minilm = demo::minilm()?;
    announce("live check against transformers, sentence-transformers and torch.jit.load");
    let mut command = oracles.command();
    command
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--color=no"])
        // Two at once, since most of it waits for one thread; a file's tests share their models.
        .args(["--numprocesses=2", "--dist=loadfile"])
        // TorchScript is what this project is about.
        .args(["-W", "ignore:`torch.jit:DeprecationWarning"])
        // Every test exports models: none is kept, neither of this run nor of one before.
        .args(["-o", "tmp_path_retention_policy=none"])
        .arg("--basetemp")
        .arg(root().join("target/live-check"))
        .arg(oracles::folder())
        .env("BERTSCRIPT", set_apart()?)
        .env("BERTSCRIPT_MINILM", minilm);
    watch(&mut command, pytest_counts)
}

/// The command and the libraries in a folder of their own: tests of the release build others in
/// the place of those.
fn set_apart() -> Result<PathBuf> {
    let folder = root().join("target/live");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let libraries = ["libbertscript.so", "libbertscript_torch.so", "libbertscript_cuda.so"];
    for name in libraries.iter().chain(&["bertscript"]) {
        let (from, to) = (root().join("target/debug").join(name), folder.join(name));
        fs::copy(&from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(folder.join("bertscript"))
}

/// Runs a test runner, shows what it prints, and adds up what it counts.
fn watch(command: &mut Command, count: impl Fn(&str) -> Option<Counts>) -> Result<(Counts, bool)> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start the tests")?;
    let stdout = child.stdout.take().context("the tests have no output")?;
    let mut total = Counts::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line?;
        let text = String::from_utf8_lossy(&line);
        writeln!(std::io::stdout(), "{text}")?;
        if let Some(found) = count(&text) {
            total = total + found;
        }
    }
    Ok((total, child.wait()?.success()))
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

/// `test result: ok. 15 passed; 0 failed; 1 ignored; ..`
fn cargo_counts(line: &str) -> Option<Counts> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    Some(read_counts(counts.split(';')))
}

/// `3 failed, 120 passed, 1 skipped, 2 warnings in 80.12s`
fn pytest_counts(line: &str) -> Option<Counts> {
    let (counts, time) = line.trim_matches(|c| c == '=' || c == ' ').rsplit_once(" in ")?;
    time.split('s').next()?.parse::<f64>().ok()?;
    Some(read_counts(counts.split(',')))
}

fn read_counts<'a>(parts: impl Iterator<Item = &'a str>) -> Counts {
    let mut counts = Counts::default();
    for part in parts {
        if let Some((number, word)) = part.trim().split_once(' ') {
            let slot = match word {
                "passed" => &mut counts.passed,
                "failed" | "error" | "errors" => &mut counts.failed,
                "ignored" | "skipped" => &mut counts.skipped,
                _ => continue,
            };
            *slot += number.parse().unwrap_or(0);
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runners_are_counted() {
        let cargo = "test result: FAILED. 15 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.12s";
        assert_eq!(cargo_counts(cargo), Some(Counts { passed: 15, failed: 2, skipped: 1 }));
        assert_eq!(cargo_counts("test a ... ok"), None);
        let pytest = "3 failed, 120 passed, 1 skipped, 2 warnings, 1 error in 80.12s (0:01:20)";
        assert_eq!(pytest_counts(pytest), Some(Counts { passed: 120, failed: 4, skipped: 1 }));
        assert_eq!(pytest_counts("tests/reference/test_models.py ...."), None);
    }
}
