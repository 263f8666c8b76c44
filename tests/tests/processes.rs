//! The C library where processes fork and exit, and where threads have small stacks.

use bertscript_tests::{CProgram, bertscript_ok, fixture, root};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Output;

/// The program of `c/processes.c`, with two threads for one operation, and a small archive.
struct Program(CProgram);

impl Program {
    fn new() -> Self {
        let program = CProgram::build_with(&root().join("tests/c/processes.c"), &["-lm"]);
        let file = program.folder().join("sentence.pt");
        let checkpoint = fixture("text/sentence");
        bertscript_ok(&[
            "export".as_ref(),
            checkpoint.as_os_str(),
            "-o".as_ref(),
            file.as_os_str(),
        ]);
        Self(program)
    }

    fn output<S: AsRef<OsStr>>(&self, what: &str, arguments: &[S]) -> Output {
        let mut command = self.0.command();
        command.args([what, "sentence.pt"]).args(arguments).env("OMP_NUM_THREADS", "2");
        command.output().unwrap()
    }

    /// What it prints, which must succeed in silence.
    fn run<S: AsRef<OsStr>>(&self, what: &str, arguments: &[S]) -> String {
        let output = self.output(what, arguments);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success(), "{}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn a_child_computes_what_its_parent_computes() {
    let program = Program::new();
    for engine in ["native", "torchscript"] {
        for (when, threads) in [("loaded", "0"), ("used", "0"), ("used", "2")] {
            println!("{engine} {when} {threads}");
            program.run("fork", &[engine, when, threads]);
        }
    }
}

#[test]
fn a_fork_during_calls_gives_a_status_or_results() {
    let program = Program::new();
    program.run::<&str>("workers", &[]);
    let warns = program.0.folder().join("warns.pt");
    write_module_that_warns(&warns);
    program.run("inside", &[warns]);
}

fn write_module_that_warns(path: &Path) {
    let mut script = torchscript::ScriptModule::new("Warns").unwrap();
    let source = "def forward(self, x: Tensor):\n    torch.warn('careful')\n    return x + 1";
    script.define(source).unwrap();
    script.save(std::fs::File::create(path).unwrap(), &[]).unwrap();
}

#[test]
fn threads_that_are_shut_down_end_and_start_again_in_a_child_too() {
    Program::new().run::<&str>("ended", &[]);
}

#[test]
fn calls_after_exit_began_are_refused() {
    let printed = Program::new().run::<&str>("exit", &[]);
    let lines: Vec<_> = printed.lines().collect();
    let message = "process: found a call after exit began, expected none";
    assert_eq!(lines, ["after", "PROCESS_STATE", message]);
}

#[test]
fn a_stack_of_128_kib_is_enough_and_a_smaller_one_is_refused() {
    let program = Program::new();
    // Loaded, and executed by libtorch.
    assert_eq!(program.run("stack", &["128"]), "OK\nOK\nOK\nOK\n");
    assert_eq!(program.run("stack", &["64"]), "PROCESS_STATE\n");
    // Whatever the size is, there is a status.
    for size in (56..128).step_by(8) {
        let printed = program.run("stack", &[size.to_string()]);
        let is_known = |status: &str| ["OK", "PROCESS_STATE"].contains(&status);
        assert!(!printed.is_empty() && printed.lines().all(is_known), "{size} KiB: {printed}");
    }
}
