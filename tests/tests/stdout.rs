//! Standard output that is closed or full: an error of every command that prints.

use bertscript_tests::{bertscript_ok, binary, fixture, scratch};
use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The arguments of every command that prints, by its name.
fn printing(folder: &Path) -> Vec<Vec<String>> {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (module, inputs) = (path("module.pt"), path("in.safetensors"));
    bertscript_ok(&["export", fixture("text/sentence").to_str().unwrap(), "-o", &module]);
    let ids = bertscript::Tensor::new([2_i64, 9, 3], [1, 3]).unwrap();
    bertscript::write_safetensors(&inputs, &[("input_ids".to_owned(), ids)]).unwrap();
    let (checkpoint, out, outputs) =
        (fixture("text/sentence"), path("out.pt"), path("out.safetensors"));
    let checkpoint = checkpoint.to_str().unwrap();
    let commands: &[&[&str]] = &[
        &["--help"],
        &["--version"],
        &["help", "export"],
        &["export", checkpoint, "-o", &out],
        &["inspect", &module],
        &["embed", &module],
        &["embed", &module, "--output", "/dev/stdout"],
        &["predict", &module, "a cat", "a dog"],
        &["tokenize", &module],
        &["run", &module, "--inputs", &inputs, "--outputs", &outputs],
        &["verify", &module],
        &[
            "bench",
            &module,
            "--lengths",
            "8",
            "--batches",
            "1",
            "--rounds",
            "1",
            "--variants",
            "auto",
        ],
        &["devices"],
        &["completions", "bash"],
    ];
    let owned = |words: &&[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    commands.iter().map(owned).collect()
}

/// Runs a command on one text, with standard output as the shell is told.
fn run(arguments: &[String], stdout: &str) -> Output {
    let script = format!("echo 'a cat' | {{ exec \"$0\" \"$@\" {stdout}; }}");
    Command::new("sh").arg("-c").arg(script).arg(binary()).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn closed_it_is_an_error_before_anything_is_computed() {
    let scratch = scratch();
    for arguments in printing(scratch.path()) {
        let output = run(&arguments, ">&-");
        let expected =
            "error: standard output: found it closed, expected a file, a pipe or a terminal\n";
        assert_eq!(stderr(&output), expected, "{arguments:?}");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    }
    for name in ["out.pt", "out.safetensors"] {
        assert!(!scratch.path().join(name).exists(), "{name}");
    }
}

#[test]
fn full_it_is_an_error() {
    let scratch = scratch();
    for arguments in printing(scratch.path()) {
        let output = run(&arguments, ">/dev/full");
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
        assert!(message.contains("standard output"), "{arguments:?}: {message}");
        assert!(message.contains("No space left on device"), "{arguments:?}: {message}");
    }
}

#[test]
fn what_prints_nothing_needs_none() {
    let scratch = scratch();
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let _ = printing(scratch.path());
    for name in ["texts.npy", "texts.jsonl", "texts.safetensors"] {
        let embed = ["embed", &path("module.pt"), "--output", &path(name)].map(str::to_owned);
        let output = run(&embed, ">&-");
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        assert!(scratch.path().join(name).exists(), "{name}");
    }
    let output = run(&["man".to_owned(), path("pages")], ">&-");
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn null_devices_and_pipes_that_close_are_none_of_these() {
    // As a parent may open it: `subprocess.DEVNULL` of Python is for reading and writing.
    for stdout in [">/dev/null", "1<>/dev/null", "| true"] {
        let output = run(&["devices".to_owned()], stdout);
        assert!(output.status.success(), "{stdout}: {}", stderr(&output));
    }
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
    let output = Command::new(binary()).arg("--help").stdout(Stdio::from(null)).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn it_gets_lines_under_each_of_its_names() {
    let scratch = scratch();
    let _ = printing(scratch.path());
    let module = scratch.path().join("module.pt").to_str().unwrap().to_owned();
    let lines = |output: &[&str]| {
        let arguments = [&["embed", &module], output].concat();
        run(&arguments.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), "").stdout
    };
    let expected = lines(&[]);
    assert!(expected.starts_with(b"{\"embedding\":["));
    for name in ["-", "/dev/stdout"] {
        assert_eq!(lines(&["--output", name]), expected, "{name}");
    }
}
