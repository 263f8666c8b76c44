//! What a variant costs before its first result: measured in a process that has
//! done nothing else.

use super::variants::{Batch, Kinds, Runner, Variant};
use crate::output;
use anyhow::{Context, bail};
use bertscript::Module;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// The text of the first run, in tokens.
const LENGTH: i64 = 128;

/// A variant from nothing to its first result.
#[derive(Serialize)]
pub(super) struct Start {
    pub(super) variant: Variant,
    pub(super) length: i64,
    #[serde(flatten)]
    cost: Cost,
}

/// What the process prints.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Cost {
    pub(super) load_ms: f64,
    pub(super) first_ms: f64,
    /// The most memory that was resident at once, where the system tells.
    pub(super) peak_bytes: Option<u64>,
}

impl std::ops::Deref for Start {
    type Target = Cost;

    fn deref(&self) -> &Cost {
        &self.cost
    }
}

/// Asks a process of this command what a variant costs.
pub(super) fn ask(
    variant: Variant,
    path: &Path,
    module: &Module,
    kinds: Kinds,
) -> anyhow::Result<Start> {
    let device = module.device().to_string();
    let output = Command::new(std::env::current_exe()?)
        .args(["bench", "--start", variant.name(), "--device", &device])
        .args(["--dtype", module.dtype().name()])
        .args(["--threads", &bertscript::thread_count().to_string(), "--"])
        .arg(path)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start a process")?;
    if !output.status.success() {
        bail!("the process that starts {variant} ended with {}", output.status);
    }
    let cost = serde_json::from_slice(&output.stdout);
    let cost = cost.with_context(|| format!("the process that starts {variant} says nothing"))?;
    Ok(Start { variant, length: LENGTH.min(kinds.max_length), cost })
}

/// The process that is asked.
pub(super) fn answer(
    variant: Variant,
    load: impl FnOnce() -> bertscript::Result<Module>,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let module = load()?;
    let runner = match Runner::new(variant, &module)? {
        Ok(runner) => runner,
        Err(reason) => bail!("{variant}: {reason}"),
    };
    let kinds = super::kinds(&module)?;
    // Whoever runs by this variant alone would not keep the program.
    drop(module);
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    let mut batch = Batch::new(&[LENGTH.min(kinds.max_length)], kinds)?;
    if variant == Variant::FixedPad {
        batch = batch.padded(kinds.max_length)?;
    }
    let started = Instant::now();
    runner.run(&batch)?;
    let first_ms = started.elapsed().as_secs_f64() * 1e3;
    output::print_json(&Cost { load_ms, first_ms, peak_bytes: peak_bytes() })
}

/// `VmHWM` of this process.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
