//! Every function of the C ABI, with every argument gone wrong: as it is, under
//! the address sanitizer, and under valgrind.

use bertscript_tests::torture::{declarations, program};
use bertscript_tests::{CProgram, fixture, installed, library, libtorch, root};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};

/// The folders that the program takes, in its order.
fn fixtures() -> impl Iterator<Item = PathBuf> {
    ["sentence", "classify-multi", "entities", "masked", "next-sentence"]
        .into_iter()
        .map(|name| fixture(&format!("text/{name}")))
}

/// Both are instrumented or watched, which costs time: the same calls with fewer
/// repetitions.
const BRIEF: &str = "-DBRIEF";

/// Compiles the torture program.
fn torture(flags: &[&str]) -> CProgram {
    let header = std::fs::read_to_string(root().join("include/bertscript/bertscript.h")).unwrap();
    let folder = bertscript_tests::scratch();
    let source = folder.path().join("torture.c");
    std::fs::write(&source, program(&declarations(&header))).unwrap();
    let (own, torch) = (root().join("tests/c"), libtorch().join("include"));
    // libtorch's header of DLPack comes as one of the system: it is not ours to warn about.
    let folders = ["-I", own.to_str().unwrap(), "-isystem", torch.to_str().unwrap()];
    CProgram::build_with(&source, &[&folders, flags].concat())
}

/// The functions that the library exports, whatever the header says.
fn exported() -> BTreeSet<String> {
    let symbols =
        Command::new("nm").args(["-D", "--defined-only"]).arg(library()).output().unwrap();
    let symbols = String::from_utf8(symbols.stdout).unwrap();
    symbols.lines().filter_map(|line| line.split_whitespace().nth(2)).map(str::to_owned).collect()
}

/// What the program reported, which must be that all went well, in silence.
fn succeeded(program: &CProgram, output: &Output, fewest_calls: usize) {
    let report = std::fs::read_to_string(program.folder().join("report")).unwrap();
    let failures: Vec<_> = report.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let last = report.lines().last().unwrap_or_default();
    assert!(output.status.success(), "{}: {last}\n{}", output.status, stderr(output));
    let stdout = String::from_utf8_lossy(&output.stdout);
    let shown: String = stdout.chars().take(500).collect();
    assert_eq!((stderr(output).as_str(), shown.as_str()), ("", ""));

    let calls: Vec<_> = report.lines().filter_map(|line| line.strip_prefix("CALL ")).collect();
    let name = |line: &&str| line.split('(').next().map(str::to_owned);
    let called: BTreeSet<_> = calls.iter().filter_map(name).collect();
    let missing: Vec<_> = exported().difference(&called).cloned().collect();
    assert!(missing.is_empty(), "never called: {missing:?}");
    assert!(calls.len() >= fewest_calls, "{} calls only", calls.len());
    println!("{last}, {} functions", called.len());
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn no_argument_breaks_a_function_and_nothing_is_written() {
    let program = torture(&["-g"]);
    let output = program.command().arg("report").args(fixtures()).output().unwrap();
    succeeded(&program, &output, 2000);
}

#[test]
fn sanitizers_of_addresses_leaks_and_undefined_behaviour_find_nothing() {
    let sanitize = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", BRIEF];
    let program = torture(&sanitize);
    let symbols = Command::new("nm").arg(program.folder().join("program")).output().unwrap();
    assert!(String::from_utf8_lossy(&symbols.stdout).contains("__asan_init"));
    let output = program
        .command()
        .env("ASAN_OPTIONS", "detect_leaks=1:detect_stack_use_after_return=1")
        .arg("report")
        .args(fixtures())
        .output()
        .unwrap();
    succeeded(&program, &output, 1000);
}

#[test]
fn valgrind_finds_neither_errors_nor_leaks() {
    let Some(valgrind) = installed(&["valgrind"]).pop() else {
        eprintln!("valgrind is not on this machine: nothing was looked for");
        return;
    };
    let program = torture(&["-g", BRIEF]);
    let suppressions = root().join("tests/c/valgrind.supp");
    let output = Command::new(valgrind)
        .args(["--quiet", "--error-exitcode=9", "--leak-check=full"])
        .args(["--errors-for-leak-kinds=definite", "--show-leak-kinds=definite"])
        .arg(format!("--suppressions={}", suppressions.display()))
        .arg("./program")
        .arg("report")
        .args(fixtures())
        .current_dir(program.folder())
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .unwrap();
    succeeded(&program, &output, 1000);
}
