//! The installed tree: headers, library, command, CMake package, pkg-config file, plug-in.

use crate::command::{output, run};
use crate::target::Target;
use crate::{announce, root, setup};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// The libtorch that the plug-in is built with.
pub(crate) const TORCH_VERSION: &str = "2.11.0";

/// Install the library with its headers, CMake package and pkg-config file, the command, and the
/// plug-in for libtorch
#[derive(Args)]
pub(crate) struct Install {
    /// Where to, such as /usr/local
    #[arg(long, value_name = "DIR")]
    pub(crate) prefix: PathBuf,
    /// Write below this directory, as packagers do; nothing in the tree names it
    #[arg(long, value_name = "DIR")]
    pub(crate) destdir: Option<PathBuf>,
    /// Where libraries go below the prefix
    #[arg(long, value_name = "DIR", default_value = "lib")]
    pub(crate) libdir: PathBuf,
    /// Leave out libbertscript_torch.so: archives run on the CPU, and no libtorch is needed, neither
    /// here nor to build
    #[arg(long, conflicts_with = "torch_rpath")]
    pub(crate) without_torch: bool,
    /// Where libbertscript_torch.so looks for libtorch, besides its own directory; may begin
    /// with $ORIGIN, or be empty [default: the libtorch it is built with]
    #[arg(long, value_name = "DIR")]
    pub(crate) torch_rpath: Option<String>,
    /// Build without optimisation
    #[arg(long)]
    pub(crate) debug: bool,
    /// The machines that runtime and command are for; the plug-in is for this one
    #[arg(skip)]
    pub(crate) target: Target,
}

impl Install {
    /// With every choice as it usually is.
    pub(crate) fn into(prefix: PathBuf) -> Self {
        Self {
            prefix,
            destdir: None,
            libdir: "lib".into(),
            without_torch: false,
            torch_rpath: None,
            debug: false,
            target: Target::default(),
        }
    }

    pub(crate) fn execute(&self) -> Result<()> {
        if self.libdir.components().any(|part| !matches!(part, Component::Normal(_))) {
            bail!("--libdir {}: expected a directory below the prefix", self.libdir.display());
        }
        self.runtime()?;
        match self.without_torch {
            true => Ok(()),
            false => self.plugin(),
        }
    }

    /// Everything that needs no libtorch.
    pub(crate) fn runtime(&self) -> Result<()> {
        let built = self.build("libbertscript", &self.target)?.join("libbertscript.so");
        let command = self.build("bertscript-cli", &self.target)?.join("bertscript");
        let version = Version::of_the_library();
        let tree = self.tree();
        announce(&format!("installing into {}", tree.root.display()));
        let lib = tree.folder(&self.libdir)?;
        let real = format!("libbertscript.so.{}", version.whole);
        let soname = format!("libbertscript.so.{}", version.of_interface());
        copy(&built, &lib.join(&real))?;
        link(&real, &lib.join(&soname))?;
        link(&soname, &lib.join("libbertscript.so"))?;
        let installed = tree.folder("bin")?.join("bertscript");
        copy(&command, &installed)?;
        let program = || self.target.program(&command);
        run(program()?.arg("man").arg(tree.folder("share/man/man1")?))?;
        for (shell, place) in COMPLETIONS {
            let text = output(program()?.args(["completions", shell]))
                .with_context(|| format!("the command has no completions for {shell}"))?;
            let file = tree.root.join(place);
            tree.folder(Path::new(place).parent().unwrap_or(Path::new("")))?;
            fs::write(&file, text + "\n")?;
        }

        tree.copy("include/bertscript", "include/bertscript")?;
        tree.copy("examples-c", "share/doc/bertscript/examples")?;
        // Its links, from where it is installed.
        let page = fs::read_to_string(root().join("docs/c-api.md"))?
            .replace("(../include/", "(../../../include/")
            .replace("[examples-c](../examples-c)", "[examples](examples)");
        fs::write(tree.folder("share/doc/bertscript")?.join("c-api.md"), page)?;
        tree.fill(&version, "bertscript-config.cmake", "cmake/bertscript")?;
        tree.fill(&version, "bertscript-config-version.cmake", "cmake/bertscript")?;
        tree.fill(&version, "bertscript.pc", "pkgconfig")?;
        tree.licenses()
    }

    /// What needs libtorch, where the library and the command find it.
    pub(crate) fn plugin(&self) -> Result<()> {
        setup::setup()?;
        let built = self.build("libbertscript_torch", &Target::default())?.join(PLUGIN);
        // It looks for no place of this machine that it was not asked to.
        if let Some(rpath) = &self.torch_rpath {
            let found = runpath(&built)?;
            let wanted = match rpath.as_str() {
                "" => "$ORIGIN".to_owned(),
                rpath => format!("$ORIGIN:{rpath}"),
            };
            if found != wanted {
                bail!("{} looks for libtorch in {found}, expected {wanted}", built.display());
            }
        }
        let lib = self.tree().folder(&self.libdir)?;
        copy(&built, &lib.join(PLUGIN))?;
        // Empty, if built without CUDA's headers.
        let graphs = self.build("libbertscript_cuda", &Target::default())?.join(GRAPHS);
        if needs_cuda(&graphs) {
            copy(&graphs, &lib.join(GRAPHS))?;
        }
        self.tree().licenses()
    }

    fn tree(&self) -> Tree<'_> {
        Tree { root: self.place(), libdir: &self.libdir }
    }

    /// Builds a package, and says where what was built is.
    fn build(&self, package: &str, target: &Target) -> Result<PathBuf> {
        announce(&format!("building {package}"));
        let mut cargo = target.cargo("build")?;
        cargo.args(["--package", package, "--locked"]);
        if !self.debug {
            cargo.arg("--release");
        }
        if let Some(rpath) = &self.torch_rpath {
            cargo.env("BERTSCRIPT_TORCH_RPATH", rpath);
        }
        run(&mut cargo)?;
        target.folder(if self.debug { "debug" } else { "release" })
    }

    /// Where the tree is written.
    fn place(&self) -> PathBuf {
        match &self.destdir {
            None => self.prefix.clone(),
            Some(destdir) => destdir.join(self.prefix.strip_prefix("/").unwrap_or(&self.prefix)),
        }
    }
}

const PLUGIN: &str = "libbertscript_torch.so";
const GRAPHS: &str = "libbertscript_cuda.so";
/// Where a shell looks for the completions of a command.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/bertscript"),
    ("fish", "share/fish/vendor_completions.d/bertscript.fish"),
    ("zsh", "share/zsh/site-functions/_bertscript"),
];

fn needs_cuda(library: &Path) -> bool {
    let dynamic = output(Command::new("readelf").arg("-d").arg(library));
    dynamic.is_some_and(|dynamic| dynamic.contains("[libtorch_cuda.so]"))
}

/// Where a library looks for others.
fn runpath(library: &Path) -> Result<String> {
    let dynamic = output(Command::new("readelf").arg("-d").arg(library))
        .context("readelf, of binutils, cannot read the library")?;
    let line = dynamic.lines().find(|line| line.contains("(RUNPATH)"));
    let path = line.and_then(|line| line.split(['[', ']']).nth(1));
    Ok(path.unwrap_or_default().to_owned())
}

/// The tree that is being written.
struct Tree<'a> {
    root: PathBuf,
    libdir: &'a Path,
}

impl Tree<'_> {
    /// A folder of the tree, made if need be.
    fn folder(&self, name: impl AsRef<Path>) -> Result<PathBuf> {
        let folder = self.root.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    fn licenses(&self) -> Result<()> {
        let folder = self.folder("share/licenses/bertscript")?;
        for license in ["LICENSE-APACHE", "LICENSE-MIT"] {
            copy(&root().join(license), &folder.join(license))?;
        }
        Ok(())
    }

    /// Copies the files of a folder of the repository.
    fn copy(&self, from: &str, to: &str) -> Result<()> {
        let to = self.folder(to)?;
        for entry in fs::read_dir(root().join(from))? {
            let path = entry?.path();
            fs::copy(&path, to.join(path.file_name().unwrap_or_default()))?;
        }
        Ok(())
    }

    /// Fills a template of `cmake/`, into a folder below that of libraries.
    fn fill(&self, version: &Version, template: &str, folder: &str) -> Result<()> {
        let text = fs::read_to_string(root().join("cmake").join(format!("{template}.in")))?;
        let folder = self.libdir.join(folder);
        // The way from the file's folder to the prefix, so that the tree may be moved.
        let up = vec![".."; folder.components().count()].join("/");
        let libdir = self.libdir.to_str().context("the libdir is not UTF-8")?;
        let text = version.fill(&text)?.replace("@UP@", &up).replace("@LIBDIR@", libdir);
        fs::write(self.folder(folder)?.join(template), text)?;
        Ok(())
    }
}

/// The version that every part of the tree states.
pub(crate) struct Version {
    pub(crate) whole: &'static str,
    major: &'static str,
    minor: &'static str,
}

impl Version {
    /// All crates of the workspace have one version.
    pub(crate) fn of_the_library() -> Self {
        Self {
            whole: env!("CARGO_PKG_VERSION"),
            major: env!("CARGO_PKG_VERSION_MAJOR"),
            minor: env!("CARGO_PKG_VERSION_MINOR"),
        }
    }

    /// What the soname ends with: see `crates/libbertscript/build.rs`.
    pub(crate) fn of_interface(&self) -> String {
        match self.major {
            "0" => format!("0.{}", self.minor),
            major => major.to_owned(),
        }
    }

    /// A template with its places filled.
    pub(crate) fn fill(&self, template: &str) -> Result<String> {
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

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
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
            let filled = filled.replace("@UP@", "").replace("@LIBDIR@", "");
            assert!(!filled.contains('@'), "{filled}");
        }
    }
}
