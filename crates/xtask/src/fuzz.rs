//! What reads files of strangers, given what libFuzzer makes up.

mod libfuzzer;

use crate::command::{cargo, output, run};
use crate::{announce, nightly, root, setup};
use anyhow::{Context, Result, bail};
use clap::Args;
use libfuzzer::{Finding, Outcome};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Feed what reads untrusted files with inputs that libFuzzer makes up, under a
/// sanitizer; takes a nightly Rust
#[derive(Args)]
pub(crate) struct Fuzz {
    /// Some of fuzz/fuzz_targets, in this order; all of them if none
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// How many minutes of a processor each gets, whatever else the machine does
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u64,
}

/// The inputs that are kept.
const KEPT: &str = "fuzz/corpus";
/// Where what is made and found lies, in the repository's root.
const FOLDER: &str = "target/fuzz";

/// What came of a target.
struct Summary {
    target: String,
    outcome: Outcome,
    /// How many inputs there are now.
    corpus: usize,
}

impl Fuzz {
    pub(crate) fn execute(&self) -> Result<()> {
        let targets = self.targets()?;
        setup::setup()?;
        install()?;
        announce("building the targets");
        run(nightly::cargo(["fuzz", "build", "--fuzz-dir", "fuzz", "--target-dir", FOLDER])
            // One of them, if there is but one.
            .args(targets.iter().take(1).filter(|_| targets.len() == 1)))?;
        // What the calls of C trace their models by.
        run(&mut cargo(["build", "--release", "--locked", "--package", "libbertscript_torch"]))?;
        let programs = Path::new(FOLDER).join(nightly::host()?).join("release");
        let mut summaries = Vec::new();
        for target in targets {
            announce(&format!("fuzzing {target} for {} minutes of a processor", self.minutes));
            summaries.push(self.fuzz(&programs.join(&target), target)?);
        }
        println!("\n{}", table(&summaries));
        let findings: Vec<_> = summaries.iter().filter_map(Summary::told).collect();
        match findings.is_empty() {
            true => Ok(()),
            false => bail!("fuzzing found\n{}", findings.join("\n")),
        }
    }

    /// Those asked for.
    fn targets(&self) -> Result<Vec<String>> {
        let known = known()?;
        if self.targets.is_empty() {
            return Ok(known);
        }
        match self.targets.iter().find(|target| !known.contains(target)) {
            None => Ok(self.targets.clone()),
            Some(target) => bail!("found the target {target}, expected {}", known.join(", ")),
        }
    }

    fn fuzz(&self, program: &Path, target: String) -> Result<Summary> {
        let found = root().join(FOLDER).join("corpus").join(&target);
        let kept = root().join(KEPT).join(&target);
        let artefacts = Path::new(FOLDER).join("artifacts").join(&target);
        for folder in [&found, &root().join(&artefacts)] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let cpu = Duration::from_secs(60 * self.minutes);
        // It adds what it finds to the first folder, and reads both.
        let outcome = libfuzzer::run(program, cpu, &artefacts, [&found, &kept])?;
        Ok(Summary { target, outcome, corpus: files(&found)? + files(&kept)? })
    }
}

impl Summary {
    /// What was found and how to see it again.
    fn told(&self) -> Option<String> {
        let Self { target, .. } = self;
        Some(match self.outcome.finding.as_ref()? {
            Finding::Input(path) => format!(
                "{target}: {path}\n  cargo +nightly fuzz run --fuzz-dir fuzz --target-dir {FOLDER} {target} {path}"
            ),
            Finding::End(status) => format!("{target}: it ended, {status}, and kept no input"),
        })
    }
}

/// One line a target.
fn table(summaries: &[Summary]) -> String {
    let titles = ["target", "executions", "CPU minutes", "corpus", "findings"].map(str::to_owned);
    let rows = summaries.iter().map(|Summary { target, outcome, corpus }| {
        [
            target.clone(),
            outcome.executions.to_string(),
            format!("{:.1}", outcome.cpu.as_secs_f64() / 60.),
            corpus.to_string(),
            outcome.finding.iter().count().to_string(),
        ]
    });
    let line = |[target, executions, cpu, corpus, findings]: [String; 5]| {
        format!("{target:<16}{executions:>12}{cpu:>13}{corpus:>8}{findings:>10}")
    };
    std::iter::once(titles).chain(rows).map(line).collect::<Vec<_>>().join("\n")
}

/// The programs in `fuzz`, by name.
fn known() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))?;
    let mut targets = Vec::new();
    for entry in entries {
        let path = entry?.path();
        targets.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    targets.sort();
    Ok(targets)
}

fn files(folder: &Path) -> Result<usize> {
    Ok(fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))?.count())
}

/// Gets nightly Rust and cargo-fuzz, where they are missing.
fn install() -> Result<()> {
    nightly::install(&[])?;
    if output(&mut cargo(["fuzz", "--version"])).is_none() {
        announce("installing cargo-fuzz");
        run(&mut cargo(["install", "--locked", "cargo-fuzz"]))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(target: &str, finding: Option<Finding>) -> Summary {
        let cpu = Duration::from_secs(603);
        let outcome = Outcome { executions: 1_234_567, cpu, finding };
        Summary { target: target.to_owned(), outcome, corpus: 89 }
    }

    #[test]
    fn a_finding_is_told_with_the_command_that_repeats_it() {
        assert_eq!(summary("config", None).told(), None);
        let found = summary("config", Some(Finding::Input("target/crash-1".to_owned())));
        assert_eq!(
            found.told().unwrap(),
            "config: target/crash-1\n  cargo +nightly fuzz run --fuzz-dir fuzz --target-dir target/fuzz config target/crash-1"
        );
    }

    #[test]
    fn the_table_has_a_line_for_each_target() {
        let found = Some(Finding::Input("target/crash-1".to_owned()));
        let table = table(&[summary("config", None), summary("tokenizer_json", found)]);
        assert_eq!(
            table,
            "\
target            executions  CPU minutes  corpus  findings
config               1234567         10.1      89         0
tokenizer_json       1234567         10.1      89         1"
        );
    }
}
