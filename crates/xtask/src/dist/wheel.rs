//! Python wheels, of the runtime and of the plug-in:
//! <https://packaging.python.org/en/latest/specifications/binary-distribution-format/>.
//!
//! pip puts the command itself into `bin` of an environment, so that no Python starts before it,
//! manual pages and completions below `share` there, and the rest of the tree into the package
//! `bertscript`. The plug-in's wheel adds its library to that package, beside torch.

use super::files_of;
use super::glibc::{self, Glibc};
use crate::install::{TORCH_VERSION, Version};
use crate::root;
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Where the plug-in finds libtorch, seen from the package's `lib`.
pub(crate) const TORCH_RPATH: &str = "$ORIGIN/../../torch/lib";

/// The wheel of the runtime's tree.
pub(crate) fn runtime(tree: &Path, output: &Path, arch: &str, glibc: Glibc) -> Result<PathBuf> {
    let version = Version::of_the_library();
    let mut wheel = Wheel::new("bertscript");
    let soname = format!("libbertscript.so.{}", version.of_interface());
    for path in files_of(tree)? {
        // Wheels have no symbolic links: the library has the name that programs look for when
        // they run, and a script of the linker has the one that `-lbertscript` looks for.
        let name = path.to_str().context("a path is not UTF-8")?;
        let name = match name.strip_prefix("lib/libbertscript.so.") {
            Some(_) => format!("lib/{soname}"),
            None => name.to_owned(),
        };
        wheel.add_file(&name, &tree.join(&path))?;
    }
    let script = format!("/* GNU ld script */\nINPUT({soname})\n");
    wheel.add("bertscript/lib/libbertscript.so", script);
    for name in ["__init__.py", "__main__.py"] {
        let source = fs::read_to_string(root().join("python/bertscript").join(name))?;
        wheel.add(&format!("bertscript/{name}"), version.fill(&source)?);
    }
    let requires = format!(
        "Provides-Extra: torch\nRequires-Dist: bertscript-torch=={}; extra == \"torch\"\n",
        version.whole
    );
    let readme = fs::read_to_string(root().join("README.md"))?;
    wheel.write(output, arch, glibc, super::SUMMARY, &requires, &readme)
}

/// The wheel of the plug-in's tree, which was built with [`TORCH_RPATH`].
pub(crate) fn plugin(tree: &Path, output: &Path, arch: &str) -> Result<PathBuf> {
    let version = Version::of_the_library().whole;
    let mut wheel = Wheel::new("bertscript_torch");
    let mut libraries = Vec::new();
    for path in files_of(tree)? {
        wheel.add_file(path.to_str().context("a path is not UTF-8")?, &tree.join(&path))?;
        libraries.extend(path.starts_with("lib").then(|| tree.join(&path)));
    }
    let glibc = glibc::floor(&libraries)?;
    let requires =
        format!("Requires-Dist: bertscript=={version}\nRequires-Dist: torch=={TORCH_VERSION}\n");
    let summary = "Export, CUDA and the engine torchscript for bertscript, by PyTorch's libtorch";
    let description = "The plug-in `libbertscript_torch.so`: `pip install bertscript[torch]`.\n";
    wheel.write(output, arch, glibc, summary, &requires, description)
}

/// The files of a wheel, by their names in it.
struct Wheel {
    /// The name of the project, as file names have it.
    name: &'static str,
    /// `bertscript-0.1.0`
    stem: String,
    files: BTreeMap<String, Content>,
}

struct Content {
    bytes: Vec<u8>,
    is_executable: bool,
}

impl Wheel {
    fn new(name: &'static str) -> Self {
        let version = Version::of_the_library().whole;
        Self { name, stem: format!("{name}-{version}"), files: BTreeMap::new() }
    }

    fn add(&mut self, name: &str, text: impl Into<String>) {
        let content = Content { bytes: text.into().into_bytes(), is_executable: false };
        self.files.insert(name.to_owned(), content);
    }

    /// Adds a file of the tree.
    fn add_file(&mut self, name: &str, file: &Path) -> Result<()> {
        let read = || fs::read(file).with_context(|| format!("cannot read {}", file.display()));
        let is_executable = fs::metadata(file)?.permissions().mode() & 0o111 != 0;
        self.files.insert(self.place(name), Content { bytes: read()?, is_executable });
        Ok(())
    }

    /// The name in the wheel of a file of the tree.
    fn place(&self, name: &str) -> String {
        let stem = &self.stem;
        let base = name.rsplit('/').next().unwrap_or(name);
        let of_environment = ["share/man/", "share/bash-completion/", "share/fish/", "share/zsh/"];
        if name.starts_with("bin/") {
            format!("{stem}.data/scripts/{base}")
        } else if of_environment.iter().any(|folder| name.starts_with(folder)) {
            format!("{stem}.data/data/{name}")
        } else if name.starts_with("share/licenses/") {
            format!("{stem}.dist-info/licenses/{base}")
        } else if name.ends_with(".cdx.json") {
            format!("{stem}.dist-info/sboms/{base}")
        } else {
            format!("bertscript/{name}")
        }
    }

    /// Writes the wheel. The same files give the same bytes: sorted, without dates.
    fn write(
        mut self,
        output: &Path,
        arch: &str,
        glibc: Glibc,
        summary: &str,
        requires: &str,
        description: &str,
    ) -> Result<PathBuf> {
        let tag = format!("py3-none-manylinux_2_{glibc}_{arch}");
        let file = output.join(format!("{}-{tag}.whl", self.stem));
        crate::announce(&format!("packing {}", file.display()));
        let info = format!("{}.dist-info", self.stem);
        let metadata = format!(
            "Metadata-Version: 2.4\nName: {}\nVersion: {}\nSummary: {summary}\n\
             License-Expression: {}\nLicense-File: LICENSE-APACHE\nLicense-File: LICENSE-MIT\n\
             {CLASSIFIERS}Requires-Python: >=3.8\n{requires}\
             Description-Content-Type: text/markdown\n\n{description}",
            self.name.replace('_', "-"),
            Version::of_the_library().whole,
            env!("CARGO_PKG_LICENSE"),
        );
        self.add(&format!("{info}/METADATA"), metadata);
        // Its libraries are for one architecture, so they go where torch's do: `platlib`.
        let wheel = format!(
            "Wheel-Version: 1.0\nGenerator: bertscript-xtask\nRoot-Is-Purelib: false\nTag: {tag}\n"
        );
        self.add(&format!("{info}/WHEEL"), wheel);
        self.add(&format!("{info}/RECORD"), self.record(&info));
        let written = File::create(&file);
        let mut zip = ZipWriter::new(written.with_context(|| file.display().to_string())?);
        // The metadata last, as the specification recommends: so it can change alone.
        let (last, first): (Vec<_>, Vec<_>) =
            self.files.iter().partition(|(name, _)| name.starts_with(&info));
        for (name, content) in first.into_iter().chain(last) {
            let mode = if content.is_executable { 0o755 } else { 0o644 };
            let options = SimpleFileOptions::default()
                .last_modified_time(zip::DateTime::default())
                .unix_permissions(mode);
            zip.start_file(name.as_str(), options)?;
            zip.write_all(&content.bytes)?;
        }
        zip.finish()?;
        Ok(file)
    }

    /// A line for each file: name, digest, size. That of itself has neither.
    fn record(&self, info: &str) -> String {
        let mut record = String::new();
        for (name, content) in &self.files {
            let digest =
                base64::encode_config(Sha256::digest(&content.bytes), base64::URL_SAFE_NO_PAD);
            record += &format!("{name},sha256={digest},{}\n", content.bytes.len());
        }
        record + &format!("{info}/RECORD,,\n")
    }
}

const CLASSIFIERS: &str = "\
Classifier: Operating System :: POSIX :: Linux
Classifier: Programming Language :: C
Classifier: Programming Language :: C++
Classifier: Programming Language :: Rust
Classifier: Topic :: Scientific/Engineering :: Artificial Intelligence
Classifier: Topic :: Text Processing :: Linguistic
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_a_digest_for_each_file_but_itself() {
        let mut wheel = Wheel::new("bertscript");
        wheel.add("a", "");
        let digest = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
        assert_eq!(wheel.record("i"), format!("a,sha256={digest},0\ni/RECORD,,\n"));
    }
}
