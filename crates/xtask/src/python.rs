//! Python and pip: where libtorch, the demo's model and the oracles come from.

use crate::command::output;
use crate::root;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The Python of the active environment.
pub(crate) fn interpreter() -> Result<&'static str> {
    // A virtual environment has `python`; Debian outside of one only `python3`.
    ["python3", "python"]
        .into_iter()
        .find(|name| {
            output(Command::new(name).args(["-c", "import sys; sys.exit(sys.version_info[0] != 3)"])).is_some()
        })
        .context(
            "python3 was not found; install it (on Debian: apt-get install python3 python3-pip), or set LIBTORCH to a libtorch 2.11.0",
        )
}

/// Installs packages into a folder, which appears whole or not at all.
pub(crate) fn install_into<S: AsRef<OsStr>>(
    directory: &Path,
    gigabytes: u64,
    arguments: &[S],
) -> Result<()> {
    let python = interpreter()?;
    if output(Command::new(python).args(["-m", "pip", "--version"])).is_none() {
        bail!(
            "pip was not found for {python}; install it (on Debian: apt-get install python3-pip)"
        );
    }
    require_space(gigabytes)?;
    let partial = directory.with_extension("partial");
    remove(&partial)?;
    // pip unpacks into a temporary folder first; beside the target, to be moved
    // and not copied, and where the space was checked.
    let temporary = partial.join("tmp");
    fs::create_dir_all(&temporary)
        .with_context(|| format!("cannot create {}", partial.display()))?;
    let target = partial.join("packages");
    let mut command = Command::new(python);
    command
        .args(["-m", "pip", "install", "--no-deps", "--disable-pip-version-check", "--target"])
        .arg(&target)
        .args(arguments)
        .env("TMPDIR", &temporary)
        .env("PIP_ROOT_USER_ACTION", "ignore");
    pip(&mut command)?;
    remove(directory)?;
    fs::rename(&target, directory)
        .with_context(|| format!("cannot move {} into place", directory.display()))?;
    remove(&partial)
}

/// The Python of a virtual environment in the repository with the packages of
/// a requirements file; made when it is not there or the file has changed.
pub(crate) fn environment(name: &str, requirements: &Path, gigabytes: u64) -> Result<PathBuf> {
    let directory = root().join(name);
    let python = directory.join("bin/python");
    let installed = directory.join("requirements.txt");
    let wanted = fs::read_to_string(requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    if fs::read_to_string(&installed).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    let system = interpreter()?;
    require_space(gigabytes)?;
    crate::announce(&format!("installing the Python oracles into {name} ({gigabytes} GB, once)"));
    remove(&directory)?;
    let made = Command::new(system)
        .args(["-m", "venv"])
        .arg(&directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {system}"))?;
    if !made.success() {
        bail!(
            "{system} cannot make a virtual environment; install venv (on Debian: apt-get install python3-venv)"
        );
    }
    let mut command = Command::new(&python);
    command.args(["-m", "pip", "install", "--disable-pip-version-check", "-r"]).arg(requirements);
    pip(&mut command)?;
    // Written last: only a finished environment counts.
    fs::write(&installed, wanted)
        .with_context(|| format!("cannot write {}", installed.display()))?;
    Ok(python)
}

/// Runs pip, whose progress the user sees, and says in one line what went wrong.
fn pip(command: &mut Command) -> Result<()> {
    let child =
        command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().context("cannot start pip")?;
    let output = child.wait_with_output().context("pip was interrupted")?;
    if output.status.success() {
        return Ok(());
    }
    let log = root().join("target/pip.log");
    fs::create_dir_all(root().join("target"))?;
    fs::File::create(&log)?.write_all(&output.stderr)?;
    bail!(
        "{} (pip's own words are in target/pip.log)",
        diagnose(&String::from_utf8_lossy(&output.stderr))
    )
}

fn diagnose(stderr: &str) -> &'static str {
    const SIGNS: [(&str, &str); 8] = [
        ("No space left on device", NO_SPACE),
        ("Disk quota exceeded", NO_SPACE),
        ("Failed to establish a new connection", NO_NETWORK),
        ("Temporary failure in name resolution", NO_NETWORK),
        ("Name or service not known", NO_NETWORK),
        ("Connection refused", NO_NETWORK),
        ("timed out", NO_NETWORK),
        ("No matching distribution found", NO_PACKAGE),
    ];
    const NO_SPACE: &str = "the disk is full; free some space and run the command again";
    const NO_NETWORK: &str = "the package index cannot be reached; check the network or pip's proxy settings and run the command again";
    const NO_PACKAGE: &str = "the package index cannot be reached, or has no such package for this machine; check the network and pip's settings";
    SIGNS
        .iter()
        .find(|(sign, _)| stderr.contains(sign))
        .map_or("pip failed", |(_, meaning)| meaning)
}

fn require_space(gigabytes: u64) -> Result<()> {
    let free = fs4::available_space(root()).context("cannot read the free disk space")?;
    if free < gigabytes * 1_000_000_000 {
        let free = free as f64 / 1e9;
        bail!(
            "{gigabytes} GB of disk space are needed here, {free:.1} GB are free; free some space and run the command again"
        );
    }
    Ok(())
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::diagnose;

    #[test]
    fn pip_failures_get_a_line_that_says_what_to_do() {
        let network = "WARNING: Retrying ... [Errno -3] Temporary failure in name resolution\nERROR: No matching distribution found for torch==2.11.0";
        assert!(diagnose(network).contains("check the network"));
        assert!(diagnose("OSError: [Errno 28] No space left on device").contains("disk is full"));
        assert!(diagnose("ERROR: No matching distribution found").contains("check the network"));
        assert_eq!(diagnose("something else"), "pip failed");
    }
}
