//! A Debian package of the runtime.
//!
//! One package, where Debian would make three (`libbertscript0.1`, `-dev`, `bertscript`): it is
//! installed from a file, and three files that need each other would only be a longer command. What
//! the split is for, two sonames at once, needs a distribution that keeps both.

use super::files_of;
use super::glibc::Glibc;
use crate::command::{output, run};
use crate::install::Version;
use crate::root;
use anyhow::{Context, Result, bail};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The date of everything inside, so that the same files give the same bytes: one that tools do not
/// take for a mistake, as they do with 1970.
const DATE: &str = "Sat, 01 Jan 2000 00:00:00 +0000";
const SECONDS: &str = "946684800";
const MAINTAINER: &str = "bertscript developers <noreply@bertscript.invalid>";

/// What Debian calls an architecture of Rust.
pub(crate) struct Architecture {
    /// `amd64`
    pub(crate) name: &'static str,
    /// `x86_64-linux-gnu`, where its libraries are below `lib`, and what its tools begin with.
    pub(crate) triplet: &'static str,
}

impl Architecture {
    pub(crate) fn of(arch: &str) -> Result<Self> {
        match arch {
            "x86_64" => Ok(Self { name: "amd64", triplet: "x86_64-linux-gnu" }),
            "aarch64" => Ok(Self { name: "arm64", triplet: "aarch64-linux-gnu" }),
            _ => bail!("found {arch}, expected x86_64 or aarch64 for a Debian package"),
        }
    }

    /// The program that strips its files.
    fn strip(&self) -> String {
        match self.triplet.starts_with(std::env::consts::ARCH) {
            true => "strip".to_owned(),
            false => format!("{}-strip", self.triplet),
        }
    }
}

/// Fails, before anything is built, if no Debian package can be made here.
pub(crate) fn check_tools(architecture: &Architecture) -> Result<()> {
    for (tool, package) in [("dpkg-deb", "dpkg"), (&architecture.strip(), "binutils")] {
        output(Command::new(tool).arg("--version")).with_context(|| {
            format!(
                "{tool}, of {package}, is not installed; --without-deb leaves out the Debian package"
            )
        })?;
    }
    Ok(())
}

/// Makes the package of a tree, which has its `usr` already.
pub(crate) fn deb(
    tree: &Path,
    output: &Path,
    architecture: &Architecture,
    glibc: Glibc,
) -> Result<PathBuf> {
    let version = Version::of_the_library().whole;
    let file = output.join(format!("bertscript_{version}_{}.deb", architecture.name));
    crate::announce(&format!("packing {}", file.display()));
    let documents = tree.join("usr/share/doc/bertscript");
    // Debian has the text of a licence once.
    fs::remove_dir_all(tree.join("usr/share/licenses"))?;
    let mit = fs::read_to_string(root().join("LICENSE-MIT"))?;
    fs::write(documents.join("copyright"), copyright(&mit)?)?;
    fs::write(documents.join("changelog"), changelog(version))?;
    let strip = architecture.strip();
    for path in files_of(tree)? {
        let file = tree.join(&path);
        let is_command = path.starts_with("usr/bin");
        if is_command || path.to_string_lossy().contains(".so.") {
            run(Command::new(&strip).args(["--strip-unneeded", "-R", ".comment"]).arg(&file))?;
        } else if path.starts_with("usr/share/man") || path.ends_with("changelog") {
            run(Command::new("gzip").args(["-9n", "--force"]).arg(&file))?;
        }
    }
    control(tree, architecture, glibc)?;
    set_permissions(tree)?;
    run(Command::new("dpkg-deb")
        // Compressed as every dpkg can read it.
        .args(["-Zxz", "--root-owner-group", "--build"])
        .arg(tree)
        .arg(&file)
        .env("SOURCE_DATE_EPOCH", SECONDS)
        .stdout(std::process::Stdio::null()))?;
    Ok(file)
}

/// Writes `DEBIAN`: what dpkg reads.
fn control(tree: &Path, architecture: &Architecture, glibc: Glibc) -> Result<()> {
    let version = Version::of_the_library();
    let files = files_of(tree)?;
    let mut size = 0;
    for path in &files {
        size += fs::metadata(tree.join(path))?.len().div_ceil(1024);
    }
    let sums = output(Command::new("md5sum").args(&files).current_dir(tree));
    let folder = tree.join("DEBIAN");
    fs::create_dir_all(&folder)?;
    let write = |name: &str, text: String| {
        fs::write(folder.join(name), text).with_context(|| format!("cannot write DEBIAN/{name}"))
    };
    write("md5sums", sums.context("md5sum failed")? + "\n")?;
    write("triggers", "activate-noawait ldconfig\n".to_owned())?;
    let (whole, interface) = (version.whole, version.of_interface());
    // Linked by zig, they have what they need of it.
    let library = tree.join("usr/lib").join(architecture.triplet);
    let library = library.join(format!("libbertscript.so.{whole}"));
    let needed = output(Command::new("readelf").arg("-d").arg(library));
    let needs_libgcc = needed.context("readelf failed")?.contains("[libgcc_s.so.1]");
    let libgcc = if needs_libgcc { ", libgcc-s1 (>= 4.2)" } else { "" };
    write("shlibs", format!("libbertscript {interface} bertscript (>= {whole})\n"))?;
    write(
        "control",
        format!(
            "Package: bertscript\nVersion: {whole}\nArchitecture: {}\n\
             Maintainer: {MAINTAINER}\nInstalled-Size: {size}\n\
             Depends: libc6 (>= 2.{glibc}){libgcc}\n\
             Section: science\nPriority: optional\n\
             Description: {}\n{DESCRIPTION}",
            architecture.name,
            super::SUMMARY,
        ),
    )
}

/// Modes that do not depend on the umask: only commands are executable.
fn set_permissions(folder: &Path) -> Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let (kind, path) = entry.and_then(|entry| Ok((entry.file_type()?, entry.path())))?;
        if kind.is_dir() {
            set_permissions(&path)?;
        } else if kind.is_file() {
            let mode = if folder.ends_with("usr/bin") { 0o755 } else { 0o644 };
            fs::set_permissions(&path, Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

/// <https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/>
fn copyright(mit: &str) -> Result<String> {
    let mut parts = mit.splitn(3, "\n\n").skip(1);
    let (Some(owner), Some(terms)) = (parts.next(), parts.next()) else {
        bail!("LICENSE-MIT: expected a title, an owner and terms");
    };
    let line = |line: &str| format!(" {}\n", if line.is_empty() { "." } else { line });
    let terms: String = terms.trim().lines().map(line).collect();
    Ok(format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: bertscript\n\n\
         Files: *\nCopyright: {}\nLicense: Apache-2.0 or Expat\n\n\
         License: Apache-2.0\n \
         On Debian systems, its text is in /usr/share/common-licenses/Apache-2.0.\n\n\
         License: Expat\n{terms}",
        owner.trim_start_matches("Copyright (c) "),
    ))
}

/// The one entry that Debian wants; `CHANGELOG.md` has the changes.
fn changelog(version: &str) -> String {
    format!(
        "bertscript ({version}) unstable; urgency=medium\n\n  * Release {version}.\n\n -- {MAINTAINER}  {DATE}\n"
    )
}

const DESCRIPTION: &str =
    " Texts become embeddings, labels, entities or answers, on the CPU, equal to
 those of transformers and sentence-transformers.
 .
 The package has the C library libbertscript with headers for C and C++, a
 CMake package and a pkg-config file, and the command bertscript. Exporting and
 CUDA need the plug-in libbertscript_torch.so and libtorch, which are not in it.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copyright_has_owner_and_terms() {
        let mit = fs::read_to_string(root().join("LICENSE-MIT")).unwrap();
        let text = copyright(&mit).unwrap();
        assert!(text.contains("\nCopyright: 2026 The bertscript developers\n"), "{text}");
        assert!(text.contains("License: Expat\n Permission is hereby granted"), "{text}");
        assert!(copyright("MIT License").is_err());
    }
}
