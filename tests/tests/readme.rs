//! What the README shows works.

use bertscript_tests::{bertscript_ok, fixture, scratch};
use std::path::Path;
use std::process::Command;

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    std::fs::read_to_string(path).unwrap()
}

/// The code block of a language that holds a text.
fn block(language: &str, holding: &str) -> String {
    let readme = readme();
    let start = format!("```{language}\n");
    let blocks = readme.split(&start).skip(1);
    let mut blocks = blocks.map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.find(|block| block.contains(holding)).unwrap()
}

#[test]
fn the_shell_commands_run() {
    let scratch = scratch();
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let mut ran = 0;
    for line in block("sh", "bertscript export").lines() {
        let words: Vec<_> = line
            .split_whitespace()
            .skip(1)
            .map(|word| match word {
                "./all-MiniLM-L6-v2" => fixture("model").to_str().unwrap().to_owned(),
                "in.safetensors" => {
                    fixture("model/inputs.safetensors").to_str().unwrap().to_owned()
                }
                "minilm.pt" | "out.safetensors" => path(word),
                _ => word.to_owned(),
            })
            .collect();
        bertscript_ok(&words);
        ran += 1;
    }
    assert_eq!(ran, 4);
    assert!(scratch.path().join("out.safetensors").is_file());
}

#[test]
fn the_rust_program_is_the_example_and_runs() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../crates/bertscript/examples/export_and_run.rs");
    let source = std::fs::read_to_string(source).unwrap();
    let shown = block("rust", "fn main");
    assert!(source.ends_with(&shown), "the example and the README differ");

    let scratch = scratch();
    std::os::unix::fs::symlink(fixture("model"), scratch.path().join("all-MiniLM-L6-v2")).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let build = ["build", "--quiet", "--package", "bertscript", "--example", "export_and_run"];
    let mut cargo = Command::new(env!("CARGO"));
    assert!(cargo.args(build).current_dir(root).status().unwrap().success());
    // target/PROFILE/deps/this-test
    let target = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
    let output = Command::new(target.join("examples/export_and_run"))
        .current_dir(scratch.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "Tensor[[2, 4, 32], Float]\n");
}
