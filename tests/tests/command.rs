//! The command itself: help, completions, manual, JSON, streams.

use bertscript::{Archive, Checkpoint, ErrorKind, LoadOptions, PreTrained, Shapes, trace};
use bertscript_tests::{bertscript, bertscript_ok, copy_of, fixture, scratch, torch};

#[test]
fn help_names_every_command_and_exit_code() {
    let help = bertscript_ok(&["--help"]);
    for word in ["export", "inspect", "run", "verify", "completions", "man", "Exit codes"] {
        assert!(help.contains(word), "{word} is missing from:\n{help}");
    }
    assert_eq!(bertscript::<&str>(&[]).status.code(), Some(2));
    assert!(bertscript_ok(&["--version"]).starts_with("bertscript 0."));
}

#[test]
fn completions_and_manual_are_generated() {
    for shell in ["bash", "zsh", "fish"] {
        let text = bertscript_ok(&["completions", shell]);
        assert!(text.contains("fixed-shape") && text.contains("verify"), "{shell}");
    }
    let scratch = scratch();
    bertscript_ok(&["man", scratch.path().to_str().unwrap()]);
    let page = std::fs::read_to_string(scratch.path().join("bertscript-export.1")).unwrap();
    assert!(page.contains("random") && page.contains(".TH"), "{page}");
    assert!(scratch.path().join("bertscript.1").is_file());
}

#[test]
fn json_is_all_that_stdout_gets() {
    let scratch = scratch();
    let file = scratch.path().join("model.pt");
    let (file, directory) = (file.to_str().unwrap(), fixture("masked-lm"));
    let directory = directory.to_str().unwrap();
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&bertscript_ok(arguments)).unwrap()
    };
    let export = json(&["export", directory, "-o", file, "--json"]);
    assert_eq!(export["metadata"]["architecture"], "BertForMaskedLM");
    assert_eq!(export["report"]["renamed"].as_array().unwrap().len(), 12);
    assert_eq!(export["file_bytes"], std::fs::metadata(file).unwrap().len());
    assert_eq!(json(&["inspect", file, "--json"])["metadata"], export["metadata"]);
    let survey = json(&["inspect", directory, "--json"]);
    assert_eq!((&survey["parameters"], &survey["max_length"]), (&44.into(), &512.into()));
    assert_eq!((&survey["model_type"], &survey["task"]), (&"bert".into(), &"ForMaskedLM".into()));
    let verify = json(&["verify", file, "--json"]);
    assert_eq!(verify["equal"], true);
    let checks = verify["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 13);
    for check in checks {
        assert_eq!(check["engine"], "native", "{}", check["case"]);
    }
}

#[test]
fn verify_fails_on_a_wrong_reference_and_says_where() {
    let scratch = scratch();
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let (file, wrong) = (path("model.pt"), path("wrong.safetensors"));
    let directory = fixture("model");
    bertscript_ok(&["export", directory.to_str().unwrap(), "-o", &file]);
    let mut reference =
        bertscript::read_safetensors(directory.join("outputs.safetensors")).unwrap();
    reference[1].1 = (torch(&reference[1].1) + 0.001).try_into().unwrap();
    bertscript::write_safetensors(&wrong, &reference).unwrap();
    let inputs = directory.join("inputs.safetensors");
    let output =
        bertscript(&["verify", &file, "--inputs", inputs.to_str().unwrap(), "--outputs", &wrong]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let line = text.lines().find(|line| line.contains("DIFFERS")).unwrap();
    assert!(line.contains("pooler_output") && line.contains("1.00e-3"), "{text}");
    assert!(text.contains("NOT equal"), "{text}");
}

#[test]
fn options_that_would_do_nothing_are_refused() {
    let scratch = scratch();
    let file = scratch.path().join("entities.pt");
    let (file, directory) = (file.to_str().unwrap(), fixture("text/entities"));
    bertscript_ok(&["export", directory.to_str().unwrap(), "-o", file]);
    let refused = |arguments: &[&str], words: &str| {
        let output = bertscript(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}");
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
    };
    let answer = "for answer, but the task is entities";
    for (options, words) in [
        (["--targets", "cat"], "--targets: for fill-mask, but the task is entities"),
        (["--doc-stride", "2"], answer),
        (["--question", "who?"], answer),
        (["--text-pair", "a dog"], "for classify, next-sentence, answer, but"),
        (["--top-k", "1"], "but the task is entities"),
        (["--top-k", "0"], "--top-k"),
    ] {
        refused(&[&["predict", file, "the cat"], &options[..]].concat(), words);
    }
    let both = ["predict", file, "--stride", "2", "--long-texts", "truncate", "the cat"];
    refused(&both, "cannot be used with");
    bertscript_ok(&["predict", file, "--stride", "2", "the cat"]);
}

/// A model whose `config.json` is not that of its code: by the native engine, which reads it
/// of an archive, results differ from the code's.
fn another_activation() -> PreTrained {
    let checkpoint = Checkpoint::open(fixture("model")).unwrap();
    let model = PreTrained::from_checkpoint(&checkpoint, &LoadOptions::default()).unwrap();
    let other = copy_of("model");
    let config = other.path().join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.contains(r#""gelu""#), "{text}");
    std::fs::write(&config, text.replace(r#""gelu""#, r#""relu""#)).unwrap();
    model.with_assets(Checkpoint::open(other.path()).unwrap().assets().unwrap())
}

#[test]
fn verify_runs_batches_by_the_engine_that_load_chooses() {
    let scratch = scratch();
    let file = scratch.path().join("model.pt");
    let model = another_activation();
    let archive = Archive::new(&model, &Shapes::Any).unwrap();
    archive.save(&trace(&model, &Shapes::Any).unwrap(), &file).unwrap();
    let directory = fixture("model");
    let (file, directory) = (file.to_str().unwrap(), directory.to_str().unwrap());
    let output = bertscript(&["verify", file, "--checkpoint", directory]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with("shape ")).collect();
    assert!(rows.iter().any(|row| row.starts_with("shape 5x64  ")), "{text}");
    for row in rows {
        assert!(row.contains("  native  ") && row.ends_with("DIFFERS"), "{text}");
    }
    // The code itself is the checkpoint's.
    let engine = ["--engine", "torchscript"];
    let verify = ["verify", file, "--checkpoint", directory];
    let torchscript = bertscript_ok(&[&verify[..], &engine].concat());
    assert!(!torchscript.contains("native"), "{torchscript}");
}

#[test]
fn export_compares_the_written_file_as_load_takes_it() {
    let scratch = scratch();
    let file = scratch.path().join("model.pt");
    let error = another_activation().export(&Shapes::Any, &file).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Verification);
    let message = error.to_string();
    assert!(message.contains("engine native: ") && message.contains("shape 5x16"), "{message}");
    assert!(!file.exists());
}

#[test]
fn the_last_line_of_verify_is_the_verdict() {
    let scratch = scratch();
    let file = scratch.path().join("model.pt");
    let (file, own, other) = (file.to_str().unwrap(), fixture("model"), fixture("model-eps"));
    let (own, other) = (own.to_str().unwrap(), other.to_str().unwrap());
    bertscript_ok(&["export", own, "-o", file]);
    let text = bertscript_ok(&["verify", file, "--checkpoint", own]);
    let verdict = format!("equal to the model of {own} within the bounds");
    assert_eq!(text.lines().last(), Some(verdict.as_str()), "{text}");

    let output = bertscript(&["verify", file, "--checkpoint", other]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.starts_with(&format!("NOT equal to the model of {other}: ")), "{text}");
}
