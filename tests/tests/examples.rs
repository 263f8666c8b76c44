//! The examples: those in C and C++ print what those in Rust of the same name
//! print.

use bertscript_tests::{CProgram, example, fixture, library, root};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn in_c(source: &str) -> CProgram {
    CProgram::build(&root().join("examples-c").join(source))
}

/// What a program prints, which must succeed in silence.
fn printed(output: &Output) -> String {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn in_rust(name: &str, arguments: &[&OsStr]) -> String {
    printed(&Command::new(example(name)).args(arguments).output().unwrap())
}

/// A fixture, exported by the example in C.
fn exported(checkpoint: &str, folder: &Path) -> PathBuf {
    let file = folder.join("exported.pt");
    printed(&in_c("export.c").run(&[fixture(checkpoint).as_os_str(), file.as_os_str()]));
    file
}

fn arguments<'a>(file: &'a Path, texts: &'a [&str]) -> Vec<&'a OsStr> {
    std::iter::once(file.as_os_str()).chain(texts.iter().map(OsStr::new)).collect()
}

const TEXTS: [&str; 3] = ["the cat sat", "Łódź 日本 😀", ""];

#[test]
fn a_checkpoint_is_exported_and_run() {
    let program = in_c("export.c");
    for (checkpoint, class) in [("model", None), ("masked-lm", Some("BertForMaskedLM"))] {
        let directory = fixture(checkpoint);
        let file = program.folder().join("bert.pt");
        let mut arguments = vec![directory.as_os_str(), file.as_os_str()];
        arguments.extend(class.map(OsStr::new));
        let output = printed(&program.run(&arguments));
        assert_eq!(output, in_rust("export", &arguments));
        assert!(output.contains(" 2 4 "), "{output}");
    }
    let output = program.run(&["nowhere", "x.pt"]);
    assert_eq!(output.status.code(), Some(1));
    let message = "error: nowhere: cannot open the checkpoint directory\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), message);
    assert!(!program.folder().join("x.pt").exists());
}

#[test]
fn texts_are_embedded() {
    let program = in_c("embed.c");
    let file = exported("text/sentence", program.folder());
    let arguments = arguments(&file, &TEXTS);
    let wanted = in_rust("embed", &arguments);
    assert_eq!(wanted.lines().count(), 3);
    assert_eq!(printed(&program.run(&arguments)), wanted);
    assert_eq!(printed(&in_c("embed.cc").run(&arguments)), wanted);

    let wanted = in_rust("threads", &arguments);
    assert_eq!(printed(&in_c("threads.c").run(&arguments)), wanted);
    let first = wanted.lines().next().unwrap();
    let library = library();
    let arguments = [library.as_os_str(), file.as_os_str(), OsStr::new(TEXTS[0])];
    assert_eq!(printed(&in_c("dlopen.c").run(&arguments)).trim_end(), first);
}

#[test]
fn texts_are_labelled() {
    let program = in_c("classify.c");
    let file = exported("text/classify-single", program.folder());
    let long = "cat ".repeat(600);
    let texts = ["the cat sat", "", long.as_str()];
    let arguments = arguments(&file, &texts);
    let wanted = in_rust("classify", &arguments);
    assert!(wanted.contains(" (truncated)"), "{wanted}");
    assert_eq!(printed(&program.run(&arguments)), wanted);
}

#[test]
fn an_engine_serves_and_survives_what_it_cannot() {
    let program = in_c("engine.cc");
    let file = exported("model", program.folder());
    let one = printed(&program.run(&[file.as_os_str(), "1".as_ref()]));
    let lines: Vec<_> = one.lines().collect();
    assert_eq!(lines.len(), 16);
    assert!(lines[..15].iter().all(|line| line.starts_with("[1, 4, 32] ")), "{one}");
    assert_eq!(lines[15], "INVALID_ARGUMENT: input_ids: found -1 at [0, 3], expected 0 to 127");
    // Whoever computes it, and when: the results are the same.
    assert_eq!(printed(&program.run(&[file.as_os_str(), "5".as_ref()])), one);
}

#[test]
fn what_is_missing_is_said_in_a_line() {
    for (source, arguments) in [
        ("embed.c", &["nowhere.pt", "a"][..]),
        ("embed.cc", &["nowhere.pt", "a"]),
        ("classify.c", &["nowhere.pt", "a"]),
        ("threads.c", &["nowhere.pt", "a"]),
        ("engine.cc", &["nowhere.pt"]),
        ("dlopen.c", &["./libbertscript.so", "nowhere.pt", "a"]),
    ] {
        let program = in_c(source);
        let output = program.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{source}");
        let message = "error: nowhere.pt: cannot open the archive\n";
        assert_eq!(String::from_utf8_lossy(&output.stderr), message, "{source}");
        let output = program.run::<&str>(&[]);
        assert_eq!(output.status.code(), Some(2), "{source}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("usage: "), "{source}");
    }
}

#[test]
fn every_example_can_be_read_at_once() {
    for entry in std::fs::read_dir(root().join("examples-c")).unwrap() {
        let path = entry.unwrap().path();
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 120, "{}: {lines} lines", path.display());
    }
}
