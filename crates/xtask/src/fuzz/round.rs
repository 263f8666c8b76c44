//! libFuzzer, run once, and what it tells of itself.

use crate::root;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::ops::Add;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Limits that no input of a few kilobytes may reach.
const LIMITS: [&str; 3] = ["-rss_limit_mb=2048", "-malloc_limit_mb=256", "-timeout=20"];

/// How many clock ticks `/proc` counts a second, on every Linux.
const TICKS: u64 = 100;

/// What was done, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) executions: u64,
    /// How long a processor worked.
    pub(super) cpu: Duration,
    /// How long it took.
    pub(super) clock: Duration,
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

impl Add for Round {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            executions: self.executions + other.executions,
            cpu: self.cpu + other.cpu,
            clock: self.clock + other.clock,
            finding: self.finding.or(other.finding),
        }
    }
}

impl Round {
    /// How many seconds of the clock one of a processor took.
    pub(super) fn slowness(&self) -> f64 {
        match self.cpu.is_zero() {
            true => 1.,
            false => (self.clock.as_secs_f64() / self.cpu.as_secs_f64()).max(1.),
        }
    }
}

/// Runs a program of libFuzzer for some seconds of the clock. What it finds goes
/// to the folder `artefacts`; `corpora` are those that it reads.
pub(super) fn run(
    program: &Path,
    time: Duration,
    artefacts: &Path,
    corpora: [&Path; 2],
) -> Result<Round> {
    let (start, before) = (Instant::now(), cpu_of_children()?);
    let mut child = Command::new(root().join(program))
        .args(corpora)
        .arg(format!("-max_total_time={}", time.as_secs()))
        .arg(format!("-artifact_prefix={}/", artefacts.display()))
        .arg("-print_final_stats=1")
        .args(LIMITS)
        // Inlined statics of C++ stand both in libtorch and in what it calls.
        .env("ASAN_OPTIONS", "detect_odr_violation=0")
        .env("LD_LIBRARY_PATH", root().join(".libtorch/torch/lib"))
        .current_dir(root())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let stderr = child.stderr.take().context("the fuzzer has no output")?;
    let (mut executions, mut input) = (0, None);
    for line in BufReader::new(stderr).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        writeln!(std::io::stderr(), "{line}")?;
        executions = self::executions(&line).unwrap_or(executions);
        input = self::input(&line).map(str::to_owned).or(input);
    }
    let status = child.wait()?;
    if status.success() && executions == 0 {
        bail!("{} ran nothing", program.display());
    }
    // What is only slow is kept too, and ends nothing.
    let finding = (!status.success()).then(|| input.map_or(Finding::End(status), Finding::Input));
    Ok(Round { executions, cpu: cpu_of_children()? - before, clock: start.elapsed(), finding })
}

/// `stat::number_of_executed_units: 1234`
fn executions(line: &str) -> Option<u64> {
    line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok()
}

/// `artifact_prefix='folder/'; Test unit written to folder/crash-1234`
fn input(line: &str) -> Option<&str> {
    Some(line.split_once("Test unit written to ")?.1)
}

/// The time of processors that children took which have ended, and theirs.
fn cpu_of_children() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
    let ticks = ticks_of_children(&stat).context("/proc/self/stat is not as expected")?;
    Ok(Duration::from_millis(ticks * (1000 / TICKS)))
}

/// `cutime` and `cstime`, as `proc_pid_stat(5)` calls them.
fn ticks_of_children(stat: &str) -> Option<u64> {
    // The name before it may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(13);
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
    fn a_busy_machine_is_given_more_time() {
        let round = |cpu, clock| {
            let (cpu, clock) = (Duration::from_secs(cpu), Duration::from_secs(clock));
            Round { cpu, clock, ..Round::default() }
        };
        assert_eq!(round(0, 0).slowness(), 1.);
        assert_eq!((round(50, 100) + round(50, 300)).slowness(), 4.);
        // Several threads are no reason for less.
        assert_eq!(round(200, 100).slowness(), 1.);
    }

    #[test]
    fn the_work_of_children_is_measured() {
        let stat = "7 (a) b)) S 1 7 7 0 -1 4194560 5 6 0 0 11 12 130 14 20 0 1 0 9 8 7\n";
        assert_eq!(ticks_of_children(stat), Some(144));
        let before = cpu_of_children().unwrap();
        let work = "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done";
        let shell = Command::new("sh").args(["-c", work]).status().unwrap();
        assert!(shell.success());
        let worked = cpu_of_children().unwrap() - before;
        assert!(worked > Duration::ZERO, "{worked:?}");
    }
}
