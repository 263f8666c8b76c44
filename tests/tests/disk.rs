//! The command on a disk that is full, that fails, and that the process does not
//! live to see the end of: at every call that writes.

use bertscript_tests::disk::{Disk, Fault};
use bertscript_tests::{bertscript_ok, binary, fixture, scratch};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What stood under the final name before.
const OLD: &[u8] = b"what stood here before";
const SIGKILL: i32 = 9;

/// A command that writes one file, into a folder of its own.
struct Job {
    disk: Disk,
    scratch: tempfile::TempDir,
    /// The name of the file.
    name: &'static str,
    arguments: Vec<String>,
    /// The file, as it is written when nothing fails.
    expected: Vec<u8>,
}

impl Job {
    /// `arguments` get the folder for other files, and the file to write.
    fn new(name: &'static str, arguments: impl FnOnce(&Path, String) -> Vec<String>) -> Self {
        let scratch = scratch();
        std::fs::create_dir(scratch.path().join("out")).unwrap();
        let file = scratch.path().join("out").join(name);
        let arguments = arguments(scratch.path(), file.to_str().unwrap().to_owned());
        bertscript_ok(&arguments);
        let expected = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        Self { disk: Disk::build(), scratch, name, arguments, expected }
    }

    fn folder(&self) -> PathBuf {
        self.scratch.path().join("out")
    }

    /// The files of the folder.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(self.folder()).unwrap().map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        });
        entries.collect()
    }

    /// Runs with a fault of this kind at every call in turn, over what stood there
    /// before, and hands what came of it to `check`; then what came of the run in which
    /// no call was left to fail, which must succeed.
    fn at_every_call(&self, kind: &str, old: Option<&[u8]>, check: impl Fn(&Output, &str)) {
        let mut stages = BTreeSet::new();
        for at in 1.. {
            for name in self.files().keys() {
                std::fs::remove_file(self.folder().join(name)).unwrap();
            }
            if let Some(old) = old {
                std::fs::write(self.folder().join(self.name), old).unwrap();
            }
            let (folder, calls) = (self.folder(), "writes");
            let fault = Fault { folder: &folder, calls, at, kind };
            let (output, calls) =
                self.disk.run(Command::new(binary()).args(&self.arguments), &fault);
            let Some(call) = calls.get(at - 1) else {
                assert!(output.status.success(), "{kind}: {}", stderr(&output));
                self.is_whole(kind);
                let wanted: BTreeSet<_> = ["open", "write"].into_iter().collect();
                assert!(
                    stages.is_superset(&wanted.iter().map(|word| (*word).to_owned()).collect())
                );
                println!("{}: {kind} at {} calls: {stages:?}", self.name, at - 1);
                return;
            };
            stages.insert(call.split(' ').next().unwrap().to_owned());
            check(&output, &format!("{kind} at call {at}, {call}: {}", stderr(&output)));
        }
    }

    /// The file is there, and nothing else.
    fn is_whole(&self, what: &str) {
        let files = self.files();
        assert_eq!(files.keys().collect::<Vec<_>>(), [self.name], "{what}");
        assert!(files[self.name] == self.expected, "{what}");
    }

    /// A failure is told with the file and its cause, and leaves no trace.
    fn fails(&self, kind: &str, cause: &str, old: Option<&[u8]>) {
        let before: BTreeMap<_, _> =
            old.map(|old| (self.name.to_owned(), old.to_vec())).into_iter().collect();
        self.at_every_call(kind, old, |output, what| {
            assert_eq!(output.status.code(), Some(1), "{what}");
            let file = self.folder().join(self.name);
            let first = stderr(output).lines().next().unwrap_or_default().to_owned();
            assert!(first.contains(file.to_str().unwrap()), "{what}");
            assert!(what.contains(cause), "{what}");
            assert!(!what.contains("panicked"), "{what}");
            let files = self.files();
            assert!(files == before, "{what}: {:?} stand there", files.keys());
        });
    }

    /// Part of a write, or an interrupted call, is no failure.
    fn goes_on(&self, kind: &str) {
        self.at_every_call(kind, None, |output, what| {
            assert!(output.status.success(), "{what}");
            self.is_whole(what);
        });
    }

    /// Where the process ends, the name has what it had or what it gets. A temporary
    /// file may stay; the next run does not mind it.
    fn is_killed(&self, old: Option<&[u8]>) {
        self.at_every_call("tear", old, |output, what| {
            let call = what.split(", ").nth(1).unwrap_or_default();
            assert_eq!(output.status.signal(), Some(SIGKILL), "{what}");
            let mut files = self.files();
            let found = files.remove(self.name);
            assert!(
                found.as_deref() == old || found.as_deref() == Some(&self.expected),
                "{what}: {} has {} bytes",
                self.name,
                found.map_or(0, |found| found.len())
            );
            let is_temporary =
                |name: &String| name.starts_with(".bertscript-") && name.ends_with(".partial");
            assert!(files.len() <= 1 && files.keys().all(is_temporary), "{what}: {files:?}");
            if !files.is_empty() && call.starts_with("rename") {
                bertscript_ok(&self.arguments);
                files.insert(self.name.to_owned(), self.expected.clone());
                assert!(self.files() == files, "{what}: the next run");
            }
        });
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// More than a buffer of an archive's.
fn export() -> Job {
    Job::new("model.pt", |folder, file| {
        let directory = folder.join("checkpoint");
        std::fs::create_dir(&directory).unwrap();
        let config = r#"{"architectures": ["BertModel"], "vocab_size": 9000, "hidden_size": 64,
            "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}"#;
        std::fs::write(directory.join("config.json"), config).unwrap();
        words(&["export", directory.to_str().unwrap(), "--random-init", "1", "-o", &file])
    })
}

/// So many texts, embedded to a file.
fn embed(name: &'static str, count: usize) -> Job {
    Job::new(name, |folder, file| {
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let (model, texts) = (path("sentence.pt"), path("texts.txt"));
        bertscript_ok(&["export", fixture("text/sentence").to_str().unwrap(), "-o", &model]);
        let lines: String = (0..count).map(|number| format!("text {number}\n")).collect();
        std::fs::write(&texts, lines).unwrap();
        words(&["embed", &model, "--input", &texts, "--output", &file, "--threads", "1"])
    })
}

fn run() -> Job {
    Job::new("outputs.safetensors", |folder, file| {
        let (model, directory) = (folder.join("model.pt"), fixture("model"));
        let model = model.to_str().unwrap();
        bertscript_ok(&["export", directory.to_str().unwrap(), "-o", model]);
        let inputs = directory.join("inputs.safetensors");
        words(&["run", model, "--inputs", inputs.to_str().unwrap(), "--outputs", &file])
    })
}

#[test]
fn an_export_appears_whole_or_not_at_all() {
    let job = export();
    job.fails("full", "No space left on device", Some(OLD));
    job.fails("EIO", "Input/output error", None);
    job.is_killed(Some(OLD));
}

#[test]
fn outputs_of_a_run_appear_whole_or_not_at_all() {
    let job = run();
    job.fails("full", "No space left on device", None);
    job.is_killed(None);
}

#[test]
fn embeddings_appear_whole_or_not_at_all() {
    // More than a buffer.
    let numpy = embed("texts.npy", 2000);
    numpy.fails("EIO", "Input/output error", None);
    numpy.goes_on("short");
    for job in [numpy, embed("texts.safetensors", 2000)] {
        job.fails("full", "No space left on device", Some(OLD));
        job.is_killed(Some(OLD));
    }
}

#[test]
fn lines_are_whole_and_those_that_were_written_stay() {
    let job = embed("texts.jsonl", 4);
    let lines = |what: &str| {
        let found = job.files().remove(job.name).unwrap_or_default();
        assert!(job.expected.starts_with(&found), "{what}");
        assert!(found.is_empty() || found.ends_with(b"\n"), "{what}");
        assert!(job.files().len() <= 1, "{what}");
        found.len()
    };
    for (kind, cause) in [("full", "No space left on device"), ("EIO", "Input/output error")] {
        job.at_every_call(kind, None, |output, what| {
            assert_eq!(output.status.code(), Some(1), "{what}");
            let file = job.folder().join(job.name);
            assert!(what.contains(file.to_str().unwrap()) && what.contains(cause), "{what}");
            assert!(lines(what) < job.expected.len(), "{what}");
        });
    }
    job.at_every_call("kill", None, |output, what| {
        assert_eq!(output.status.signal(), Some(SIGKILL), "{what}");
        assert!(lines(what) < job.expected.len(), "{what}");
    });
    job.goes_on("short");
    job.goes_on("interrupted");
}

#[test]
fn input_that_cannot_be_read_is_named() {
    let job = embed("texts.npy", 3);
    let input = job.scratch.path().join("in");
    std::fs::create_dir(&input).unwrap();
    std::fs::rename(job.scratch.path().join("texts.txt"), input.join("texts.txt")).unwrap();
    let path = input.join("texts.txt").to_str().unwrap().to_owned();
    let mut arguments = job.arguments.clone();
    arguments[3].clone_from(&path);
    for at in 1.. {
        let fault = Fault { folder: &input, calls: "reads", at, kind: "EIO" };
        let (output, calls) = job.disk.run(Command::new(binary()).args(&arguments), &fault);
        let Some(call) = calls.get(at - 1) else {
            assert!(output.status.success() && at > 2, "{}", stderr(&output));
            return job.is_whole("no fault");
        };
        let what = format!("{call}: {}", stderr(&output));
        assert_eq!(output.status.code(), Some(1), "{what}");
        assert!(stderr(&output).contains(&path), "{what}");
        assert!(what.contains("Input/output error"), "{what}");
    }
}

#[test]
fn what_cannot_be_printed_is_an_error() {
    let job = embed("texts.npy", 3);
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let to_stdout = &job.arguments[..4];
    let output = Command::new(binary()).args(to_stdout).stdout(full()).output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("standard output") && message.contains("No space left"), "{message}");
    let inspect = ["inspect", &job.arguments[1]];
    let output = Command::new(binary()).args(inspect).stdout(full()).output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("standard output") && message.contains("No space left"), "{message}");
    // Nor is it a panic that nobody hears of what went wrong.
    let output = Command::new(binary()).args(["inspect", "nowhere"]).stderr(full()).output();
    assert_eq!(output.unwrap().status.code(), Some(1));
}
