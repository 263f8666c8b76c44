//! Which machines a build is for: another architecture or an older glibc than this machine's, with
//! zig as the linker.
//!
//! A program runs with the glibc it was linked to and newer ones. zig brings those of all versions
//! and architectures; no compiler of another architecture is needed.

use crate::command::{cargo, output, run};
use crate::{announce, python, root};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use std::process::Command;

/// zig and what hands it to cargo, as packages of PyPI.
const PACKAGES: [&str; 2] = ["cargo-zigbuild==0.24.1", "ziglang==0.17.1"];
/// Of other architectures, if nothing is asked.
const GLIBC: &str = "2.28";

/// An architecture of Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "aarch64")]
    Aarch64,
}

impl Arch {
    /// This machine's.
    fn here() -> Result<Self> {
        let name = std::env::consts::ARCH;
        Self::from_str(name, false)
            .ok()
            .with_context(|| format!("expected x86_64 or aarch64, this machine is {name}"))
    }

    /// As the kernel names it, and qemu, and Python's wheels.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    fn triple(self) -> String {
        format!("{}-unknown-linux-gnu", self.name())
    }

    /// The target for cargo, whose standard library rustup gets if it is missing.
    pub(crate) fn installed(self) -> Result<String> {
        let triple = self.triple();
        let print = ["--print", "target-libdir", "--target", &triple];
        let folder = output(Command::new("rustc").args(print).current_dir(root()));
        if !folder.is_some_and(|folder| Path::new(&folder).is_dir()) {
            announce(&format!("installing Rust's standard library for {}", self.name()));
            run(Command::new("rustup").args(["target", "add", &triple]).current_dir(root()))
                .with_context(|| format!("no standard library of Rust for {triple}"))?;
        }
        Ok(triple)
    }
}

/// The machines that a build is for
#[derive(Args, Clone, Default)]
pub(crate) struct Target {
    /// The architecture [default: this machine's]
    #[arg(long)]
    arch: Option<Arch>,
    /// The oldest glibc it runs with, such as 2.28 [default: this machine's, or 2.28 of another
    /// architecture]
    #[arg(long, value_name = "VERSION")]
    glibc: Option<String>,
}

impl Target {
    /// Another architecture than this machine's, whatever that is: aarch64, usually.
    pub(crate) fn other() -> Result<Self> {
        let arch = match Arch::here()? {
            Arch::X86_64 => Arch::Aarch64,
            Arch::Aarch64 => Arch::X86_64,
        };
        Ok(Self { arch: Some(arch), glibc: None })
    }

    pub(crate) fn arch(&self) -> Result<Arch> {
        self.arch.map_or_else(Arch::here, Ok)
    }

    /// Whether programs of it run here by themselves.
    pub(crate) fn runs_here(&self) -> Result<bool> {
        Ok(self.arch()? == Arch::here()?)
    }

    /// `cargo build`, `cargo test`, for these machines.
    pub(crate) fn cargo(&self, subcommand: &str) -> Result<Command> {
        if self.is_plain()? {
            return Ok(cargo([subcommand]));
        }
        let zig = zig()?;
        let triple = self.arch()?.installed()?;
        let mut command = Command::new(zig.join("bin/cargo-zigbuild"));
        let glibc = self.glibc.as_deref().unwrap_or(GLIBC);
        command
            .arg(if subcommand == "build" { "zigbuild" } else { subcommand })
            .args(["--target", &format!("{triple}.{glibc}")])
            .env("CARGO_ZIGBUILD_ZIG_PATH", zig.join("ziglang/zig"))
            .current_dir(root());
        if !self.runs_here()? {
            let variable = triple.to_uppercase().replace('-', "_");
            command.env(format!("CARGO_TARGET_{variable}_RUNNER"), self.emulator()?.join(" "));
        }
        Ok(command)
    }

    /// Where cargo puts what it builds.
    pub(crate) fn folder(&self, profile: &str) -> Result<PathBuf> {
        let target = root().join("target");
        Ok(match self.is_plain()? {
            true => target.join(profile),
            false => target.join(self.arch()?.triple()).join(profile),
        })
    }

    /// Runs a program that was built for these machines.
    pub(crate) fn program(&self, program: &Path) -> Result<Command> {
        if self.runs_here()? {
            return Ok(Command::new(program));
        }
        let [qemu, arguments @ ..] = self.emulator()?;
        let mut command = Command::new(qemu);
        command.args(arguments).arg(program);
        Ok(command)
    }

    fn is_plain(&self) -> Result<bool> {
        Ok(self.glibc.is_none() && self.runs_here()?)
    }

    /// qemu, and where the C library of the architecture is.
    fn emulator(&self) -> Result<[String; 3]> {
        let arch = self.arch()?;
        let names = [format!("qemu-{}", arch.name()), format!("qemu-{}-static", arch.name())];
        let qemu =
            names.into_iter().find(|name| output(Command::new(name).arg("--version")).is_some());
        let libc = format!("/usr/{}-linux-gnu", arch.name().replace('_', "-"));
        let found = qemu.filter(|_| Path::new(&libc).join("lib").is_dir());
        let Some(qemu) = found else {
            let package = if arch == Arch::Aarch64 { "arm64" } else { "amd64" };
            bail!(
                "programs for {} do not run here: qemu-{} and a C library in {libc} are expected; \
                 install them (on Debian: apt-get install qemu-user libc6-{package}-cross)",
                arch.name(),
                arch.name()
            );
        };
        Ok([qemu, "-L".to_owned(), libc])
    }
}

/// The folder with zig, downloaded once.
fn zig() -> Result<PathBuf> {
    let folder = root().join(".zig");
    let installed = folder.join("installed.txt");
    let wanted = PACKAGES.join("\n");
    if std::fs::read_to_string(&installed).is_ok_and(|found| found == wanted) {
        return Ok(folder);
    }
    announce("downloading zig into .zig (about 100 MB, once)");
    python::install_into(&folder, 1, &PACKAGES)?;
    std::fs::write(&installed, wanted).context("cannot write into .zig")?;
    Ok(folder)
}
