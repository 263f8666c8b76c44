//! The release: the installed tree as two files, one of which needs libtorch.

use crate::command::{output, run};
use crate::install::{Install, Version};
use crate::sbom::sbom;
use crate::{announce, root};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Make the release: a tar file of the installed tree, which needs no libtorch, and one of the
/// plug-in, which is unpacked over it; with lists of what is in the libraries, and SHA-256
#[derive(Args)]
pub(crate) struct Dist {
    /// Where to
    #[arg(long, value_name = "DIR", default_value = "target/dist")]
    output: PathBuf,
    /// Where the plug-in looks for libtorch, besides its own directory; may begin
    /// with $ORIGIN
    #[arg(long, value_name = "DIR", default_value = "")]
    torch_rpath: String,
    /// Leave out the plug-in
    #[arg(long)]
    without_torch: bool,
    /// Build without optimisation
    #[arg(long)]
    debug: bool,
}

impl Dist {
    pub(crate) fn execute(&self) -> Result<()> {
        let (version, target) = (Version::of_the_library().whole, target());
        let output = root().join(&self.output);
        fs::create_dir_all(&output).with_context(|| format!("cannot make {}", output.display()))?;
        let name = format!("bertscript-{version}-{target}");
        let inside = ["libbertscript", "bertscript-cli"];
        self.pack(&output, &name, &inside, Install::runtime)?;
        if self.without_torch {
            return Ok(());
        }
        let name = format!("bertscript-torch-{version}-{target}");
        self.pack(&output, &name, &["libbertscript_torch"], Install::plugin)
    }

    /// Fills a tree and packs it, with the lists of what is in its packages.
    fn pack(
        &self,
        output: &Path,
        name: &str,
        packages: &[&str],
        fill: impl FnOnce(&Install) -> Result<()>,
    ) -> Result<()> {
        let tree = output.join(name);
        if tree.exists() {
            fs::remove_dir_all(&tree).context("cannot remove the tree of before")?;
        }
        fill(&Install {
            torch_rpath: Some(self.torch_rpath.clone()),
            debug: self.debug,
            ..Install::into(tree.clone())
        })?;
        let documents = tree.join("share/doc/bertscript");
        fs::create_dir_all(&documents)?;
        for package in packages {
            let bill = documents.join(format!("{package}.cdx.json"));
            fs::write(&bill, sbom(package)?)
                .with_context(|| format!("cannot write {}", bill.display()))?;
        }
        names_no_place(&tree)?;
        let file = format!("{name}.tar.gz");
        announce(&format!("packing {}", output.join(&file).display()));
        // The same tree gives the same file: sorted, without dates or owners.
        run(Command::new("tar")
            .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"])
            .args(["--use-compress-program", "gzip -n", "-cf", &file, name])
            .current_dir(output))?;
        let digest =
            crate::command::output(Command::new("sha256sum").arg(&file).current_dir(output));
        let digest = digest.context("sha256sum failed")?;
        fs::write(output.join(format!("{file}.sha256")), format!("{digest}\n"))?;
        println!("{digest}");
        Ok(())
    }
}

/// `x86_64-linux`.
fn target() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
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
