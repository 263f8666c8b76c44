//! libFuzzer, run once, and what it tells of itself.

use crate::root;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Limits that no input of a few kilobytes may reach.
const LIMITS: [&str; 3] = ["-rss_limit_mb=2048", "-malloc_limit_mb=256", "-timeout=20"];

/// How many clock ticks `/proc` counts a second, on every Linux.
const TICKS: u64 = 100;

/// How often the time of a processor is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What was done, and what came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) executions: u64,
    /// How long a processor worked.
    pub(super) cpu: Duration,
    pub(super) finding: Option<Finding>,
}

/// Why libFuzzer ended before its time.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// An input, by the name of its file.
    Input(String),
    /// Something else.
    End(ExitStatus),
}

/// Runs a program of libFuzzer until a processor worked so long. What it finds goes to
/// the folder `artefacts`; `corpora` are those that it reads.
pub(super) fn run(
    program: &Path,
    cpu: Duration,
    artefacts: &Path,
    corpora: [&Path; 2],
) -> Result<Outcome> {
    let before = ticks("self", CHILDREN)?;
    let mut child = Command::new(root().join(program))
        .args(corpora)
        .arg(format!("-artifact_prefix={}/", artefacts.display()))
        .arg("-print_final_stats=1")
        .args(LIMITS)
        // Inlined statics of C++ stand both in libtorch and in what it calls.
        .env("ASAN_OPTIONS", "detect_odr_violation=0")
        .env("LD_LIBRARY_PATH", root().join(".libtorch/torch/lib"))
        .env("BERTSCRIPT_TORCH", root().join("target/release/libbertscript_torch.so"))
        .current_dir(root())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let stderr = child.stderr.take().context("the fuzzer has no output")?;
    let process = child.id().to_string();
    let (mut executions, mut input) = (0, None);
    let (ends, ended) = mpsc::channel::<()>();
    thread::scope(|scope| -> Result<()> {
        // Dropped when there is no more to read.
        let _ends = ends;
        scope.spawn(|| stop_after(cpu, &process, ended));
        for line in BufReader::new(stderr).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            writeln!(std::io::stderr(), "{line}")?;
            executions = self::executions(&line).unwrap_or(executions);
            input = self::input(&line).map(str::to_owned).or(input.take());
        }
        Ok(())
    })?;
    let status = child.wait()?;
    if status.success() && executions == 0 {
        bail!("{} ran nothing", program.display());
    }
    // What is only slow is kept too, and ends nothing.
    let finding = (!status.success()).then(|| input.map_or(Finding::End(status), Finding::Input));
    Ok(Outcome { executions, cpu: ticks("self", CHILDREN)? - before, finding })
}

/// libFuzzer can only be told when to end by the clock, which says little beside other
/// work. It is asked to end by a signal, at which it tells what it did.
fn stop_after(cpu: Duration, process: &str, ended: Receiver<()>) {
    while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        if ticks(process, ITS_OWN).is_ok_and(|worked| worked >= cpu) {
            let told = Command::new("kill").args(["-USR1", process]).status();
            if told.is_ok_and(|status| status.success()) {
                return;
            }
        }
    }
}

/// `stat::number_of_executed_units: 1234`
fn executions(line: &str) -> Option<u64> {
    line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok()
}

/// `artifact_prefix='folder/'; Test unit written to folder/crash-1234`
fn input(line: &str) -> Option<&str> {
    Some(line.split_once("Test unit written to ")?.1)
}

/// `utime` and `stime` of `proc_pid_stat(5)`, by the place of the first behind the name.
const ITS_OWN: usize = 11;
/// `cutime` and `cstime`: of children that have ended, and theirs.
const CHILDREN: usize = 13;

/// How long processors worked for a process.
fn ticks(process: &str, place: usize) -> Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let ticks = ticks_at(&stat, place).with_context(|| format!("{path} is not as expected"))?;
    Ok(Duration::from_millis(ticks * (1000 / TICKS)))
}

fn ticks_at(stat: &str, place: usize) -> Option<u64> {
    // The name before it may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(place);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(ticks()? + ticks()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_is_understood() {
        assert_eq!(executions("stat::number_of_executed_units: 40961"), Some(40961));
        assert_eq!(executions("stat::average_exec_per_sec:     3723"), None);
        let line = "artifact_prefix='a/config/'; Test unit written to a/config/crash-1f";
        assert_eq!(input(line), Some("a/config/crash-1f"));
        assert_eq!(input("#2 INITED cov: 5"), None);
    }

    #[test]
    fn a_fuzzer_is_stopped_when_it_worked_long_enough() {
        let program = "trap 'exit 7' USR1; while :; do :; done";
        let mut shell = Command::new("sh").args(["-c", program]).spawn().unwrap();
        let (ends, ended) = mpsc::channel();
        let wanted = Duration::from_millis(300);
        stop_after(wanted, &shell.id().to_string(), ended);
        drop(ends);
        assert_eq!(shell.wait().unwrap().code(), Some(7));
        assert!(ticks("self", CHILDREN).unwrap() >= wanted);
    }

    #[test]
    fn times_are_read() {
        let stat = "7 (a) b)) S 1 7 7 0 -1 4194560 5 6 0 0 11 12 130 14 20 0 1 0 9 8 7\n";
        assert_eq!(ticks_at(stat, CHILDREN), Some(144));
        assert_eq!(ticks_at(stat, ITS_OWN), Some(23));
    }
}
