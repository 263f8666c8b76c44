//! The C library among things that go wrong: faults of libtorch and the system,
//! load, other users of libtorch in the same process.

use bertscript_tests::{CProgram, bertscript_ok, fixture, library, root};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Output;

/// A program of `tests/c`, and a small file to run beside it.
fn program(name: &str, arguments: &[&str]) -> (CProgram, PathBuf) {
    let program = CProgram::build_with(&root().join("tests/c").join(name), arguments);
    let file = program.folder().join("sentence.pt");
    let checkpoint = fixture("text/sentence");
    let export = ["export".as_ref(), checkpoint.as_os_str(), "-o".as_ref(), file.as_os_str()];
    bertscript_ok(&export);
    (program, file)
}

/// A program that uses libtorch itself.
fn beside_libtorch(name: &str) -> (CProgram, PathBuf) {
    let torch = std::env::var_os("LIBTORCH").map_or(root().join(".libtorch/torch"), PathBuf::from);
    let torch = torch.to_str().unwrap();
    let include = format!("-isystem{torch}/include");
    let api = format!("-isystem{torch}/include/torch/csrc/api/include");
    let (search, rpath) = (format!("-L{torch}/lib"), format!("-Wl,-rpath,{torch}/lib"));
    program(name, &[&include, &api, &search, &rpath, "-ltorch_cpu", "-lc10", "-ldl"])
}

/// What a program prints, which must succeed in silence.
fn printed(output: &Output) -> String {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success(), "{}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn numbers(text: &str) -> Vec<i64> {
    text.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

#[test]
fn whatever_is_thrown_or_exhausted_becomes_a_status() {
    let (program, file) = beside_libtorch("faults.cc");
    let model = fixture("model");
    let output = program.run(&[file.as_os_str(), model.as_os_str()]);
    // Failed allocations, and the panics among them: both must have happened.
    let [failures, panics] = numbers(&printed(&output))[..] else { panic!("{output:?}") };
    assert!(failures > 50 && panics > 0, "{failures} {panics}");
}

#[test]
fn where_memory_runs_out_that_is_the_error_and_nothing_else_changes() {
    let (program, file) = program("memory.cc", &["-ldl"]);
    let (model, folder) = (fixture("model"), bertscript_tests::scratch());
    // Nothing else allocates, and nobody waits for a thread that a fork left behind.
    let mut command = program.command();
    command.args([file.as_path(), &model, folder.path()]).env("OMP_NUM_THREADS", "1");
    let stages = printed(&command.output().unwrap());
    println!("{stages}");
    // oneDNN tells standard output where it gets no memory to start.
    let lines = stages.lines().filter(|line| !line.starts_with("onednn_verbose,"));
    let stages: Vec<Vec<_>> = lines.map(|line| line.split(' ').collect()).collect();
    assert_eq!(stages.len(), 22);
    for stage in stages {
        let [what, stage, failures, ended] = stage[..] else { panic!("{stage:?}") };
        let count = |text: &str| text.parse::<u32>().unwrap();
        // Of the native engine nothing is libtorch's, weights may lie in a file, and what was
        // loaded is saved as the same bytes.
        let is_native = matches!(stage, "load" | "cast" | "int8" | "run" | "embed" | "save");
        let has_none = is_native || (what, stage) == ("tensors", "pretrained");
        assert_eq!(count(failures) == 0, has_none, "{what} {stage}: {failures} failed");
        // Tensors never end the process.
        assert!(what == "objects" || count(ended) == 0, "{what} {stage}");
    }
}

/// A model with a wider layer than the fixtures', with random weights.
fn enlarged(architecture: &str, to: &Path) {
    let directory = bertscript_tests::copy_of("text/masked");
    let config = directory.path().join("config.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    json["hidden_size"] = 128.into();
    json["num_hidden_layers"] = 1.into();
    for file in [&config, &directory.path().join("model.safetensors")] {
        std::fs::remove_file(file).unwrap();
    }
    std::fs::write(&config, json.to_string()).unwrap();
    let checkpoint = directory.path().to_str().unwrap();
    let random = ["--random-init", "1", "--architecture", architecture];
    bertscript_ok(&[&["export", checkpoint, "-o", to.to_str().unwrap()], &random[..]].concat());
}

#[test]
fn large_allocations_may_fail() {
    let source = root().join("tests/c/exhausted.cc");
    let program = CProgram::build_with(&source, &["-ldl"]);
    let tasks = ["MaskedLM", "SequenceClassification", "TokenClassification", "QuestionAnswering"];
    let architectures = ["BertModel".to_owned()]
        .into_iter()
        .chain(tasks.map(|task| format!("BertFor{task}")))
        .chain(["BertModel".to_owned()]);
    let files = architectures.enumerate().map(|(number, architecture)| {
        let file = program.folder().join(format!("{number}.pt"));
        enlarged(&architecture, &file);
        file
    });
    let files: Vec<_> = files.collect();
    for how in ["injected", "limited"] {
        // Threads that wait leave the processors to others.
        let mut command = program.command();
        command.arg(how).args(&files).env("OMP_WAIT_POLICY", "passive");
        let output = command.output().unwrap();
        let stages = printed(&output);
        println!("{how}\n{stages}");
        assert_eq!(stages.lines().count(), 10);
        for stage in stages.lines() {
            let [_, failures, calls] = stage.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{stage}")
            };
            // With little address space left, many calls find what earlier ones have freed.
            let must_fail = how == "injected" || stage.starts_with("run ");
            let failures: u32 = failures.parse().unwrap();
            assert!(failures > 0 || !must_fail, "{stage}: nothing failed");
            assert!(calls.parse::<u32>().unwrap() > 4, "{stage}: too few calls");
        }
    }
}

#[test]
fn callbacks_may_wait_call_and_cancel() {
    let include = format!("-isystem{}/include", bertscript_tests::libtorch().display());
    let (program, sentence) = program("callbacks.c", &[&include]);
    let warns = program.folder().join("warns.pt");
    let mut script = torchscript::ScriptModule::new("Warns").unwrap();
    let source = "def forward(self, x: Tensor):\n    torch.warn('careful')\n    return x + 1";
    script.define(source).unwrap();
    script.save(std::fs::File::create(&warns).unwrap(), &[]).unwrap();
    let arguments = [warns, sentence, fixture("model")];
    printed(&program.run(&arguments));
    // Nor does it matter that nobody can read what is written where there is no callback.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = program.command();
    command.args(&arguments).env("BERTSCRIPT_LOG", "1").stderr(full);
    assert!(command.status().unwrap().success());
}

#[test]
fn a_host_keeps_its_libtorch_and_shares_its_tensors() {
    let (program, _) = beside_libtorch("host.cc");
    let (model, sentence) = (fixture("model"), fixture("text/sentence"));
    printed(&program.run(&[model, sentence]));
}

#[test]
fn many_threads_get_what_one_gets() {
    let (program, file) = program("stress.c", &["-ldl"]);
    let arguments = ["threads".as_ref(), file.as_os_str(), "8".as_ref(), "1000".as_ref()];
    printed(&program.run(&arguments));
}

#[test]
fn memory_does_not_grow() {
    let (program, file) = program("stress.c", &["-ldl"]);
    let arguments: [&OsStr; 3] = ["rounds".as_ref(), file.as_os_str(), "2000".as_ref()];
    let output = printed(&program.run(&arguments));
    let [early, late] = numbers(&output)[..] else { panic!("{output}") };
    // A kilobyte a round; the allocator's own figures differ by up to 500 KiB.
    assert!(late - early < 1800, "{early} KiB after 200 rounds, {late} after 2000");
}

#[test]
fn the_library_may_come_and_go() {
    let (program, file) = program("stress.c", &["-ldl"]);
    let library = library();
    let arguments = ["reload".as_ref(), library.as_os_str(), file.as_os_str(), "50".as_ref()];
    printed(&program.run(&arguments));
}
