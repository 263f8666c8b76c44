//! No output takes the place of what the same command reads.

use bertscript::{
    Checkpoint, ErrorKind, LoadOptions, PreTrained, Shapes, Tensor, write_safetensors,
};
use bertscript_tests::{bertscript, bertscript_ok, binary, fixture, scratch};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Every name that leads to a file: its own, a symbolic link and a hard link, whose
/// names have the same ending.
fn names(file: &Path) -> [PathBuf; 3] {
    let name = file.file_name().unwrap().to_str().unwrap();
    let (soft, hard) = (format!("soft-{name}"), format!("hard-{name}"));
    let (soft, hard) = (file.with_file_name(soft), file.with_file_name(hard));
    if !soft.exists() {
        symlink(file, &soft).unwrap();
        fs::hard_link(file, &hard).unwrap();
    }
    [file.to_owned(), soft, hard]
}

/// The command names `output` as an input, and `input` has its contents still.
fn refused(output: &Output, to: &Path, input: &Path, before: &[u8]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{}: {} {stderr}", to.display(), output.status);
    let line = format!("error: {}: found the input file ", to.display());
    assert!(stderr.starts_with(&line), "{}: {stderr}", to.display());
    assert!(stderr.ends_with(", expected another file\n"), "{stderr}");
    assert!(fs::read(input).unwrap() == before, "{} was changed", input.display());
}

/// Copies a checkpoint with its folders.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
}

#[test]
fn an_input_is_never_the_output() {
    let scratch = scratch();
    let path = |name: &str| scratch.path().join(name);
    let mut cases: Vec<(PathBuf, Vec<&str>)> = Vec::new();
    // A module may have any name.
    for name in ["module.jsonl", "module.npy", "module.safetensors", "module.pt"] {
        bertscript_ok(&["export", text(&fixture("text/sentence")), "-o", text(&path(name))]);
    }
    let module = path("module.pt");
    let ids = Tensor::new([2_i64, 9, 3], [1, 3]).unwrap();
    let (inputs, texts) = (path("in.safetensors"), path("other.txt"));
    fs::write(&texts, "a cat\n").unwrap();
    write_safetensors(&inputs, &[("input_ids".to_owned(), ids)]).unwrap();
    for name in ["texts.jsonl", "texts.npy", "texts.safetensors"] {
        fs::write(path(name), "a cat\n").unwrap();
        cases.push((path(name), vec!["embed", text(&module), "--input", "IN", "--output", "OUT"]));
    }
    for name in ["module.jsonl", "module.npy", "module.safetensors"] {
        cases.push((path(name), vec!["embed", "IN", "--input", text(&texts), "--output", "OUT"]));
    }
    let run = vec!["run", "IN", "--inputs", text(&inputs), "--outputs", "OUT"];
    cases.push((module.clone(), run));
    let run = vec!["run", text(&module), "--inputs", "IN", "--outputs", "OUT"];
    cases.push((inputs.clone(), run));
    for option in ["--json", "--html"] {
        cases.push((module.clone(), vec!["bench", "IN", option, "OUT"]));
        let bench = vec!["bench", text(&module), "--text", "IN", option, "OUT"];
        cases.push((path("texts.jsonl"), bench));
    }
    for (input, words) in cases {
        let before = fs::read(&input).unwrap();
        for to in names(&input) {
            let arguments = words.iter().map(|word| match *word {
                "IN" => text(&input),
                "OUT" => text(&to),
                other => other,
            });
            refused(&bertscript(&arguments.collect::<Vec<_>>()), &to, &input, &before);
        }
    }
}

#[test]
fn nor_is_it_standard_input_or_output() {
    let scratch = scratch();
    let path = |name: &str| scratch.path().join(name);
    let (module, texts) = (path("module.pt"), path("texts.jsonl"));
    bertscript_ok(&["export", text(&fixture("text/sentence")), "-o", text(&module)]);
    fs::write(&texts, "a cat\n").unwrap();
    for options in [&[][..], &["--input", "-"]] {
        for to in names(&texts) {
            let mut embed = Command::new(binary());
            embed.args(["embed", text(&module)]).args(options).arg("--output").arg(&to);
            let output = embed.stdin(File::open(&texts).unwrap()).output().unwrap();
            refused(&output, &to, &texts, b"a cat\n");
        }
    }
    // What is appended to the input would be read in turn, without end.
    let from_file: &[&[&str]] = &[&["embed", text(&module), "--input", text(&texts)]];
    let from_stdin: &[&[&str]] = &[
        &["embed", text(&module)],
        &["embed", text(&module), "--output", "/dev/stdout"],
        &["predict", text(&module)],
        &["tokenize", text(&module)],
    ];
    for arguments in from_file.iter().chain(from_stdin) {
        let mut command = Command::new("timeout");
        command.arg("60").arg(binary()).args(*arguments);
        command.stdin(File::open(&texts).unwrap());
        command.stdout(File::options().append(true).open(&texts).unwrap());
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        let words = "found standard output, expected another file";
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
        assert_eq!(fs::read(&texts).unwrap(), b"a cat\n", "{arguments:?}");
    }
}

#[test]
fn an_export_replaces_no_file_of_its_checkpoint() {
    let scratch = scratch();
    let sharded = scratch.path().join("sharded");
    copy(&fixture("format-safetensors-sharded"), &sharded);
    let sentence = scratch.path().join("sentence");
    copy(&fixture("text/sentence"), &sentence);
    // Weights in another form, which are not read.
    fs::write(sentence.join("pytorch_model.bin"), "other weights").unwrap();
    let of_sentence = [
        "config.json",
        "model.safetensors",
        "pytorch_model.bin",
        "tokenizer.json",
        "tokenizer_config.json",
        "modules.json",
        "config_sentence_transformers.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
    ];
    let of_sharded = ["config.json", "model.safetensors.index.json", "model-2-of-3.safetensors"];
    let cases = of_sentence.iter().map(|name| (&sentence, *name));
    for (directory, name) in cases.chain(of_sharded.iter().map(|name| (&sharded, *name))) {
        let file = directory.join(name);
        let before = fs::read(&file).unwrap();
        for to in names(&file) {
            let output = bertscript(&["export", text(directory), "-o", text(&to)]);
            refused(&output, &to, &file, &before);
        }
    }
    let checkpoint = Checkpoint::open(&sentence).unwrap();
    let model = PreTrained::from_checkpoint(&checkpoint, &LoadOptions::default()).unwrap();
    let weights = sentence.join("model.safetensors");
    let error = model.export(&Shapes::Any, &weights).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    drop(model);

    // It is refused before weights are read, and any other name in the directory is free.
    let good = fs::read(&weights).unwrap();
    fs::write(&weights, "no weights").unwrap();
    let output = bertscript(&["export", text(&sentence), "-o", text(&weights)]);
    refused(&output, &weights, &weights, b"no weights");
    fs::write(&weights, good).unwrap();
    bertscript_ok(&["export", text(&sentence), "-o", text(&sentence.join("model.pt"))]);
    bertscript_ok(&["export", text(&sentence), "-o", text(&sentence.join("model.pt"))]);
}

#[test]
fn an_output_stays_as_it_is_where_the_texts_are_missing() {
    let scratch = scratch();
    let path = |name: &str| scratch.path().join(name);
    let module = path("module.pt");
    bertscript_ok(&["export", text(&fixture("text/sentence")), "-o", text(&module)]);
    for name in ["out.jsonl", "out.npy", "out.safetensors"] {
        let to = path(name);
        fs::write(&to, "before").unwrap();
        let missing = path("missing.txt");
        let arguments = ["embed", text(&module), "--input", text(&missing), "--output", text(&to)];
        let output = bertscript(&arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {stderr}");
        assert!(
            stderr.starts_with(&format!("error: cannot open {}", missing.display())),
            "{stderr}"
        );
        assert_eq!(fs::read(&to).unwrap(), b"before", "{name}");
    }
}
