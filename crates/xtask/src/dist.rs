//! The release: the installed tree as a file, as a Python wheel and as a Debian package; the plug-in,
//! which needs libtorch, as a file and as a wheel.

mod deb;
mod glibc;
mod wheel;

use crate::command::{output, run};
use crate::install::{Install, Version};
use crate::sbom::sbom;
use crate::target::Target;
use crate::{announce, root};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the packages say that they are.
const SUMMARY: &str = "BERT-like encoders, from C, C++ and the command line, without Python";

/// Make the release: the installed tree, which needs no libtorch, as a tar file, a Python wheel and
/// a Debian package; the plug-in as a tar file that is unpacked over that tree, and as a wheel; with
/// lists of what is in the libraries, and SHA-256
#[derive(Args)]
pub(crate) struct Dist {
    /// Where to
    #[arg(long, value_name = "DIR", default_value = "target/dist")]
    output: PathBuf,
    /// Where the plug-in of the tar file looks for libtorch, besides its own directory; may begin
    /// with $ORIGIN. (That of the wheel looks into the package of torch.)
    #[arg(long, value_name = "DIR", default_value = "")]
    torch_rpath: String,
    /// Leave out the plug-in, which is always for this machine
    #[arg(long)]
    without_torch: bool,
    #[command(flatten)]
    target: Target,
    /// Leave out the Debian package, which needs dpkg-deb
    #[arg(long)]
    without_deb: bool,
    /// Build without optimisation
    #[arg(long)]
    debug: bool,
}

impl Dist {
    pub(crate) fn execute(&self) -> Result<()> {
        if !self.without_deb {
            deb::check_tools(&deb::Architecture::of(self.target.arch()?.name())?)?;
        }
        if !self.without_torch && !self.target.runs_here()? {
            bail!("--arch: the plug-in is for this machine only; add --without-torch");
        }
        let version = Version::of_the_library().whole;
        let target = format!("{}-linux", self.target.arch()?.name());
        let output = root().join(&self.output);
        fs::create_dir_all(&output).with_context(|| format!("cannot make {}", output.display()))?;
        self.runtime(&output, &format!("bertscript-{version}-{target}"))?;
        match self.without_torch {
            true => Ok(()),
            false => self.plugin(&output, &format!("bertscript-torch-{version}-{target}")),
        }
    }

    fn runtime(&self, output: &Path, name: &str) -> Result<()> {
        let arch = self.target.arch()?.name();
        let inside = ["libbertscript", "bertscript-cli"];
        let tree = emptied(output.join(name))?;
        self.fill(&tree, "", &inside, Install::into(tree.clone()), Install::runtime)?;
        pack(output, name)?;
        let built = [tree.join("lib/libbertscript.so"), tree.join("bin/bertscript")];
        let glibc = glibc::floor(&built)?;
        announce(&format!("glibc 2.{glibc} is required, by these symbols"));
        for file in &built {
            let symbols = glibc::symbols(file, glibc).into_iter().collect::<Vec<_>>();
            eprintln!("    {}: {}", file.display(), symbols.join(" "));
        }
        digest(&wheel::runtime(&tree, output, arch, glibc)?)?;
        if self.without_deb {
            return Ok(());
        }
        let architecture = deb::Architecture::of(arch)?;
        let tree = emptied(output.join("deb"))?;
        let install = Install {
            destdir: Some(tree.clone()),
            libdir: Path::new("lib").join(architecture.triplet),
            ..Install::into("/usr".into())
        };
        self.fill(&tree, "usr", &inside, install, Install::runtime)?;
        digest(&deb::deb(&tree, output, &architecture, glibc)?)
    }

    fn plugin(&self, output: &Path, name: &str) -> Result<()> {
        let inside = ["libbertscript_torch"];
        let tree = emptied(output.join(name))?;
        self.fill(&tree, "", &inside, Install::into(tree.clone()), Install::plugin)?;
        pack(output, name)?;
        let tree = emptied(output.join("wheel-torch"))?;
        let install = Install {
            torch_rpath: Some(wheel::TORCH_RPATH.to_owned()),
            ..Install::into(tree.clone())
        };
        self.fill(&tree, "", &inside, install, Install::plugin)?;
        digest(&wheel::plugin(&tree, output, std::env::consts::ARCH)?)
    }

    /// Installs into a tree, with the lists of what is in its packages.
    fn fill(
        &self,
        tree: &Path,
        prefix: &str,
        packages: &[&str],
        install: Install,
        fill: impl FnOnce(&Install) -> Result<()>,
    ) -> Result<()> {
        let torch_rpath = install.torch_rpath.clone().or(Some(self.torch_rpath.clone()));
        let target = self.target.clone();
        fill(&Install { torch_rpath, debug: self.debug, target, ..install })?;
        let documents = tree.join(prefix).join("share/doc/bertscript");
        fs::create_dir_all(&documents)?;
        for package in packages {
            let bill = documents.join(format!("{package}.cdx.json"));
            fs::write(&bill, sbom(package)?)
                .with_context(|| format!("cannot write {}", bill.display()))?;
        }
        names_no_place(tree)
    }
}

/// A folder without what it had before.
fn emptied(tree: PathBuf) -> Result<PathBuf> {
    if tree.exists() {
        fs::remove_dir_all(&tree).context("cannot remove the tree of before")?;
    }
    Ok(tree)
}

/// Packs a tree as a tar file.
fn pack(output: &Path, name: &str) -> Result<()> {
    let file = format!("{name}.tar.gz");
    announce(&format!("packing {}", output.join(&file).display()));
    // The same tree gives the same file: sorted, without dates or owners.
    run(Command::new("tar")
        .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"])
        .args(["--use-compress-program", "gzip -n", "-cf", &file, name])
        .current_dir(output))?;
    digest(&output.join(file))
}

/// Writes the SHA-256 of a file beside it.
fn digest(file: &Path) -> Result<()> {
    let name = file.file_name().and_then(|name| name.to_str()).context("no name")?;
    let folder = file.parent().context("no folder")?;
    let digest = output(Command::new("sha256sum").arg(name).current_dir(folder));
    let digest = digest.context("sha256sum failed")?;
    fs::write(folder.join(format!("{name}.sha256")), format!("{digest}\n"))?;
    println!("{digest}");
    Ok(())
}

/// The files below a folder, as paths from there, sorted; symbolic links are none.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(inside) = folders.pop() {
        for entry in fs::read_dir(folder.join(&inside))? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, inside.join(entry.file_name()));
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Fails if a text file of the tree names the place where it was built. (The
/// library itself was looked at when it was built: where it looks for others.)
fn names_no_place(tree: &Path) -> Result<()> {
    let here = root();
    let here = here.to_str().context("the repository's path is not UTF-8")?;
    let list = output(Command::new("grep").args(["-rIlF", here]).arg(tree));
    match list {
        Some(files) if !files.is_empty() => bail!("the place of the build is named in {files}"),
        _ => Ok(()),
    }
}
