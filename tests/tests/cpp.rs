//! `bertscript.hpp`: its classes do what the Rust library does, with exceptions
//! and without.

use bertscript::{
    Archive, Checkpoint, ClassifyOptions, EmbedOptions, EmbedSparseOptions, EntitiesOptions,
    FillMaskOptions, LoadOptions, Module, PreTrained, RankOptions, Shapes, ZeroShotOptions,
};
use bertscript_tests::{CProgram, fixture, installed, root, scratch};
use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

fn source(name: &str) -> PathBuf {
    root().join("tests/c").join(name)
}

/// A fixture in the Rust library.
fn in_rust(name: &str) -> Module {
    let checkpoint = Checkpoint::open(fixture(name)).unwrap();
    let model = PreTrained::from_checkpoint(&checkpoint, &LoadOptions::default()).unwrap();
    let archive = Archive::new(&model, &Shapes::Any).unwrap();
    Module::from_script(bertscript::trace(&model, &Shapes::Any).unwrap(), archive).unwrap()
}

/// What `classes.cc` must print.
fn expected() -> String {
    let mut text = String::new();
    let many = "cat ".repeat(300);
    let options =
        EmbedOptions { truncate_dim: Some(4), normalize: true, ..EmbedOptions::default() };
    let found = in_rust("text/sentence").embed(["the cat", &many, ""], &options).unwrap();
    for value in found.as_slice() {
        write!(text, "{value} ").unwrap();
    }
    text += "\n9\n";
    let pairs = [("good", "bad"), ("the cat", "sat")];
    let module = in_rust("text/classify-single");
    for found in module.classify(pairs, &ClassifyOptions::default()).unwrap() {
        for label in found.labels {
            write!(text, "{} {} ", label.label, label.score).unwrap();
        }
    }
    let module = in_rust("text/reranker");
    let texts = ["the cat", "a dog ran", &many];
    for found in module.rank("who saw the cat?", texts, &RankOptions::default()).unwrap() {
        write!(text, "{} {} {} ", found.index, found.score, i32::from(found.truncated)).unwrap();
    }
    let options = ZeroShotOptions {
        hypothesis_template: "it is {}.".to_owned(),
        multi_label: true,
        ..ZeroShotOptions::default()
    };
    let module = in_rust("text/inference");
    let found = module.zero_shot(["the cat sat"], &["a cat", "the city"], &options).unwrap();
    for label in &found[0].labels {
        write!(text, "{} {} ", label.label, label.score).unwrap();
    }
    text += "\n";
    let options = EmbedSparseOptions {
        max_active_dims: Some(5),
        prompt_name: Some("query".to_owned()),
        ..EmbedSparseOptions::default()
    };
    let found = in_rust("text/sparse").embed_sparse(["the cat", &many], &options).unwrap();
    for (number, (indices, values)) in found.rows().enumerate() {
        for (index, value) in indices.iter().zip(values) {
            write!(text, "{index} {value} ").unwrap();
        }
        write!(text, "{number} ").unwrap();
    }
    assert_eq!(found.truncated(), [1]);
    text += "\n";
    let options = EntitiesOptions {
        aggregation_strategy: "none".parse().unwrap(),
        ignore_labels: Vec::new(),
        ..EntitiesOptions::default()
    };
    let found = in_rust("text/entities").entities(["She went to the big city."], &options).unwrap();
    for e in &found[0].entities {
        let index = e.index.unwrap();
        write!(text, "{} {} {} {} {index} ", e.entity, e.word, e.start, e.end).unwrap();
    }
    text += "\n";
    let texts = ["the [MASK] sat on the [MASK]"];
    let found = in_rust("text/masked").fill_mask(texts, &FillMaskOptions::default()).unwrap();
    for (mask, fillings) in found[0].masks.iter().enumerate() {
        for filling in fillings {
            write!(text, "{mask} {} {} ", filling.token, filling.token_str).unwrap();
        }
    }
    text + "\n"
}

/// Words and numbers: those of C++ are written with more digits than they need.
fn words(text: &str) -> Vec<Vec<Result<f32, String>>> {
    let word = |word: &str| word.parse().map_err(|_| word.to_owned());
    text.lines().map(|line| line.split_whitespace().map(word).collect()).collect()
}

#[test]
fn classes_that_throw_do_what_rust_does() {
    let second = source("rows.cc");
    let program = CProgram::build_with(&source("classes.cc"), &[second.to_str().unwrap()]);
    let output = program.run(&[fixture("")]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
    assert_eq!(words(&String::from_utf8(output.stdout).unwrap()), words(&expected()));
}

#[test]
fn without_exceptions_every_failure_is_a_result() {
    for flags in [&["-fno-exceptions", "-fno-rtti"][..], &["-DBERTSCRIPT_NO_EXCEPTIONS"]] {
        let program = CProgram::build_with(&source("returning.cc"), flags);
        let output = program.run(&[fixture("")]);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success());
    }
}

#[test]
fn the_header_compiles_in_newer_standards_and_with_clang() {
    let header = root().join("include/bertscript/bertscript.hpp");
    for compiler in installed(&["g++", "clang++"]) {
        for flags in [&["-std=c++20"][..], &["-std=c++17", "-fno-exceptions", "-fno-rtti"]] {
            let output = Command::new(compiler)
                .args(flags)
                .args(["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"])
                .args(["-fsyntax-only", "-x", "c++"])
                .arg("-I")
                .arg(root().join("include"))
                .arg(&header)
                .output()
                .unwrap();
            // Whoever compiles a header by itself is told so by gcc.
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{compiler} {flags:?}\n{said}");
        }
    }
}

#[test]
fn a_callback_that_may_throw_does_not_compile() {
    let folder = scratch();
    let path = folder.path().join("callback.cc");
    for (specifier, compiles) in [("noexcept", true), ("", false)] {
        let text = format!(
            "#include <bertscript/bertscript.hpp>\n\
             static void hear(void *, std::int32_t, const char *) {specifier} {{}}\n\
             int main() {{ bertscript::set_log_callback(hear, nullptr); }}\n"
        );
        std::fs::write(&path, text).unwrap();
        let program = CProgram::compile(&path, &[]);
        assert_eq!(program.is_ok(), compiles, "{specifier:?}");
        if let Err(said) = program {
            assert!(said.contains("noexcept") || said.contains("invalid conversion"), "{said}");
        }
    }
}
