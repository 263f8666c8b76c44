//! Every function of the C ABI, with every argument gone wrong: as it is, under
//! the address sanitizer, and under valgrind.

use bertscript_tests::torture::{declarations, program};
use bertscript_tests::{CProgram, bertscript_ok, fixture, installed, library, libtorch, root};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The archives that the program loads: name, fixture, and further arguments of the export.
/// No fixture answers questions: its head is made of random numbers.
const ARCHIVES: [(&str, &str, &[&str]); 8] = [
    ("sentence.pt", "sentence", &[]),
    ("classifier.pt", "classify-multi", &[]),
    ("tagger.pt", "entities", &[]),
    ("filler.pt", "masked", &[]),
    ("pair_scorer.pt", "next-sentence", &[]),
    ("sparse_embedder.pt", "sparse", &[]),
    ("inferrer.pt", "inference", &[]),
    (
        "answerer.pt",
        "sentence",
        &["--architecture", "BertForQuestionAnswering", "--random-init", "1"],
    ),
];

/// Both are instrumented or watched, which costs time: the same calls with fewer
/// repetitions.
const BRIEF: &str = "-DBRIEF";

const SANITIZE: [&str; 4] =
    ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", BRIEF];
/// Without the last, the sanitizer of GCC 12 guesses where libraries that were loaded later have
/// their thread-local memory, sometimes wrongly, and then breaks down when it looks for leaks.
const ASAN_OPTIONS: (&str, &str) =
    ("ASAN_OPTIONS", "detect_leaks=1:detect_stack_use_after_return=1:intercept_tls_get_addr=0");

/// Compiles the torture program, beside its archives.
fn torture(flags: &[&str]) -> CProgram {
    let header = std::fs::read_to_string(root().join("include/bertscript/bertscript.h")).unwrap();
    let folder = bertscript_tests::scratch();
    let source = folder.path().join("torture.c");
    std::fs::write(&source, program(&declarations(&header))).unwrap();
    let (own, torch) = (root().join("tests/c"), libtorch().join("include"));
    // libtorch's header of DLPack comes as one of the system: it is not ours to warn about.
    let folders = ["-I", own.to_str().unwrap(), "-isystem", torch.to_str().unwrap()];
    let program = CProgram::build_with(&source, &[&folders, flags].concat());
    for (name, checkpoint, arguments) in ARCHIVES {
        let (from, to) = (fixture(&format!("text/{checkpoint}")), program.folder().join(name));
        let export = ["export", from.to_str().unwrap(), "-o", to.to_str().unwrap()];
        bertscript_ok(&[&export, arguments].concat());
    }
    program
}

/// What the program takes: its report, and a checkpoint.
fn arguments() -> [PathBuf; 2] {
    ["report".into(), fixture("text/sentence")]
}

/// Adds what makes a program run where there is no libtorch.
fn alone(command: &mut Command) -> &mut Command {
    command.arg("alone").env("BERTSCRIPT_TORCH", "/nowhere/libbertscript_torch.so")
}

/// Valgrind on a program, if it is on this machine.
fn valgrind(program: &CProgram) -> Option<Command> {
    let Some(valgrind) = installed(&["valgrind"]).pop() else {
        eprintln!("valgrind is not on this machine: nothing was looked for");
        return None;
    };
    let suppressions = root().join("tests/c/valgrind.supp");
    let mut command = Command::new(valgrind);
    command
        .args(["--quiet", "--error-exitcode=9", "--leak-check=full"])
        .args(["--errors-for-leak-kinds=definite", "--show-leak-kinds=definite"])
        .arg(format!("--suppressions={}", suppressions.display()))
        .arg("./program")
        .args(arguments())
        .current_dir(program.folder())
        .env_remove("LD_LIBRARY_PATH");
    Some(command)
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
    let report = report(program.folder());
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

fn report(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("report")).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The functions of which the program's calls never succeeded.
fn always_refused(program: &CProgram) -> BTreeSet<String> {
    let report = report(program.folder());
    let calls = report.lines().filter_map(|line| line.strip_prefix("CALL "));
    let succeeded = |line: &str| [" OK ", " returned "].iter().any(|word| line.contains(word));
    let (mut refused, mut others) = (BTreeSet::new(), BTreeSet::new());
    for call in calls {
        let name = call.split('(').next().unwrap_or(call).to_owned();
        if succeeded(call) {
            others.insert(name)
        } else {
            refused.insert(name)
        };
    }
    &refused - &others
}

#[test]
fn no_argument_breaks_a_function_and_nothing_is_written() {
    let program = torture(&["-g"]);
    let output = program.command().args(arguments()).output().unwrap();
    succeeded(&program, &output, 2000);
    assert_eq!(always_refused(&program), BTreeSet::new());

    let output = alone(program.command().args(arguments())).output().unwrap();
    succeeded(&program, &output, 2000);
    let refused = always_refused(&program);
    let expected = [
        "bertscript_model_export",
        "bertscript_model_from_pretrained",
        "bertscript_model_trace",
        "bertscript_module_with_plan",
        "bertscript_runtime_check",
    ];
    assert_eq!(refused.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn sanitizers_of_addresses_leaks_and_undefined_behaviour_find_nothing() {
    let program = torture(&SANITIZE);
    let symbols = Command::new("nm").arg(program.folder().join("program")).output().unwrap();
    assert!(String::from_utf8_lossy(&symbols.stdout).contains("__asan_init"));
    let sanitized = || {
        let mut command = program.command();
        command.env(ASAN_OPTIONS.0, ASAN_OPTIONS.1).args(arguments());
        command
    };
    let output = sanitized().output().unwrap();
    succeeded(&program, &output, 1000);
    let output = alone(&mut sanitized()).output().unwrap();
    succeeded(&program, &output, 1000);
}

#[test]
fn valgrind_finds_neither_errors_nor_leaks() {
    let program = torture(&["-g", BRIEF]);
    let Some(mut command) = valgrind(&program) else { return };
    succeeded(&program, &command.output().unwrap(), 1000);
    let output = alone(&mut command).output().unwrap();
    succeeded(&program, &output, 1000);
}
