//! The installed tree: header, library, CMake package, pkg-config file.

use crate::command::{cargo, run};
use crate::{announce, root, setup};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The libtorch that the library is built with.
const TORCH_VERSION: &str = "2.11.0";

/// What to install, and where.
pub(crate) struct Install {
    pub(crate) prefix: PathBuf,
    pub(crate) debug: bool,
}

impl Install {
    pub(crate) fn execute(&self) -> Result<()> {
        setup::setup()?;
        announce("building libbertscript");
        let mut arguments = vec!["build", "--package", "libbertscript", "--locked"];
        if !self.debug {
            arguments.push("--release");
        }
        run(&mut cargo(arguments))?;
        announce(&format!("installing into {}", self.prefix.display()));
        let profile = if self.debug { "debug" } else { "release" };
        let version = Version::of_the_library();
        let lib = self.folder("lib")?;
        let real = format!("libbertscript.so.{}", version.whole);
        let soname = format!("libbertscript.so.{}", version.of_interface());
        let built = root().join("target").join(profile).join("libbertscript.so");
        fs::copy(&built, lib.join(&real))
            .with_context(|| format!("cannot copy {}", built.display()))?;
        link(&real, &lib.join(&soname))?;
        link(&soname, &lib.join("libbertscript.so"))?;

        copy_files("include/bertscript", &self.folder("include/bertscript")?)?;
        let package = self.folder("lib/cmake/bertscript")?;
        let pkgconfig = self.folder("lib/pkgconfig")?;
        for (template, folder) in [
            ("bertscript-config.cmake", &package),
            ("bertscript-config-version.cmake", &package),
            ("bertscript.pc", &pkgconfig),
        ] {
            let text = fs::read_to_string(root().join("cmake").join(format!("{template}.in")))?;
            fs::write(folder.join(template), version.fill(&text)?)?;
        }
        copy_files("examples-c", &self.folder("share/doc/bertscript/examples")?)?;
        let guide = self.folder("share/doc/bertscript")?.join("c-api.md");
        fs::copy(root().join("docs/c-api.md"), guide)?;
        let licenses = self.folder("share/licenses/bertscript")?;
        for license in ["LICENSE-APACHE", "LICENSE-MIT"] {
            fs::copy(root().join(license), licenses.join(license))?;
        }
        Ok(())
    }

    /// A folder of the tree, made if need be.
    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.prefix.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }
}

/// The version that every part of the tree states.
struct Version {
    whole: &'static str,
    major: &'static str,
    minor: &'static str,
}

impl Version {
    /// All crates of the workspace have one version.
    fn of_the_library() -> Self {
        Self {
            whole: env!("CARGO_PKG_VERSION"),
            major: env!("CARGO_PKG_VERSION_MAJOR"),
            minor: env!("CARGO_PKG_VERSION_MINOR"),
        }
    }

    /// What the soname ends with: see `crates/libbertscript/build.rs`.
    fn of_interface(&self) -> String {
        match self.major {
            "0" => format!("0.{}", self.minor),
            major => major.to_owned(),
        }
    }

    /// A template with its places filled.
    fn fill(&self, template: &str) -> Result<String> {
        let header = fs::read_to_string(root().join("include/bertscript/bertscript.h"))?;
        let abi =
            header.lines().find_map(|line| line.strip_prefix("#define BERTSCRIPT_ABI_VERSION "));
        let abi = abi.context("the header states no BERTSCRIPT_ABI_VERSION")?;
        Ok(template
            .replace("@VERSION@", self.whole)
            .replace("@MAJOR@", self.major)
            .replace("@MINOR@", self.minor)
            .replace("@SOVERSION@", &self.of_interface())
            .replace("@ABI_VERSION@", abi)
            .replace("@TORCH_VERSION@", TORCH_VERSION))
    }
}

/// Copies the files of a folder of the repository.
fn copy_files(from: &str, to: &Path) -> Result<()> {
    for entry in fs::read_dir(root().join(from))? {
        let path = entry?.path();
        fs::copy(&path, to.join(path.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

fn link(target: &str, place: &Path) -> Result<()> {
    let _ = fs::remove_file(place);
    std::os::unix::fs::symlink(target, place)
        .with_context(|| format!("cannot link {}", place.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_place_of_a_template_stays_empty() {
        for template in
            ["bertscript-config.cmake", "bertscript-config-version.cmake", "bertscript.pc"]
        {
            let text =
                fs::read_to_string(root().join("cmake").join(format!("{template}.in"))).unwrap();
            let filled = Version::of_the_library().fill(&text).unwrap();
            assert!(!filled.contains('@'), "{filled}");
        }
    }
}
