//! What the README shows works.

use bertscript_tests::{CProgram, bertscript_ok, binary, fixture, scratch};
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

/// A folder with what the examples expect to find.
fn folder() -> tempfile::TempDir {
    let scratch = scratch();
    let link = |to: &str, name: &str| {
        std::os::unix::fs::symlink(fixture(to), scratch.path().join(name)).unwrap();
    };
    link("text/sentence", "all-MiniLM-L6-v2");
    link("model/inputs.safetensors", "in.safetensors");
    std::fs::write(scratch.path().join("texts.txt"), "the cat sat\nwho was it?\n").unwrap();
    scratch
}

#[test]
fn the_shell_commands_run() {
    let folder = folder();
    let commands = block("sh", "bertscript export");
    let path = format!(
        "{}:{}",
        binary().parent().unwrap().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new("sh")
        .args(["-e", "-c", &commands])
        .current_dir(folder.path())
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for made in ["minilm.pt", "out.safetensors", "texts.npy"] {
        assert!(folder.path().join(made).is_file(), "{made}");
    }
}

#[test]
fn the_rust_program_is_the_example_and_runs() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../crates/bertscript/examples/export_and_run.rs");
    let source = std::fs::read_to_string(source).unwrap();
    let shown = block("rust", "fn main");
    assert!(source.ends_with(&shown), "the example and the README differ");

    let folder = folder();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let build = ["build", "--quiet", "--locked", "--workspace", "--example", "export_and_run"];
    let mut cargo = Command::new(env!("CARGO"));
    assert!(cargo.args(build).current_dir(root).status().unwrap().success());
    // target/PROFILE/deps/this-test
    let target = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
    let output = Command::new(target.join("examples/export_and_run"))
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.starts_with("16 values, from "), "{printed}");
    assert!(printed.contains("\n[1.000, "), "{printed}");
}

#[test]
fn the_c_and_cpp_lines_compile_and_run() {
    let folder = folder();
    let source = folder.path().join("readme.c");
    let lines = block("c", "bertscript_module_load");
    let text = format!(
        "#include <bertscript/bertscript.h>\n#include <stdio.h>\nint main(void) {{\n{lines}return 0;\n}}\n"
    );
    std::fs::write(&source, text).unwrap();
    let program = CProgram::build(&source);
    let file = program.folder().join("minilm.pt");
    bertscript_ok(&[
        "export".as_ref(),
        fixture("text/sentence").as_os_str(),
        "-o".as_ref(),
        file.as_os_str(),
    ]);
    let output = program.run::<&str>(&[]);
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let source = folder.path().join("readme.cc");
    let lines = block("cpp", "bertscript::Module");
    let check = "return values != nullptr && embeddings.shape()[0] == 2 ? 0 : 1;";
    let text = format!("#include <bertscript/bertscript.hpp>\nint main() {{\n{lines}{check}\n}}\n");
    std::fs::write(&source, text).unwrap();
    let cpp = CProgram::build(&source);
    std::fs::copy(&file, cpp.folder().join("minilm.pt")).unwrap();
    assert!(cpp.run::<&str>(&[]).status.success());

    std::fs::remove_file(file).unwrap();
    let output = program.run::<&str>(&[]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "minilm.pt: cannot open the archive\n");
}
