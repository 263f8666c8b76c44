//! The C ABI, from C: the header compiles everywhere, the examples run, the
//! library keeps to its exports.

use bertscript_tests::{CProgram, fixture, library, root, scratch};
use std::process::Command;

/// Runs a command, which must succeed, and returns its standard output.
fn ok(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn example(name: &str) -> CProgram {
    CProgram::build(&root().join("examples-c").join(name))
}

#[test]
fn the_header_compiles_as_every_c_and_cpp() {
    let header = root().join("include/bertscript/bertscript.h");
    let strict = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"];
    for standard in ["c99", "c11", "c17"] {
        ok(Command::new("gcc")
            .arg(format!("-std={standard}"))
            .args(strict)
            .args(["-Wstrict-prototypes", "-Wc++-compat", "-x", "c"])
            .arg(&header));
    }
    for standard in ["c++11", "c++17", "c++20"] {
        let standard = format!("-std={standard}");
        ok(Command::new("g++").arg(standard).args(strict).args(["-x", "c++"]).arg(&header));
    }
}

#[test]
fn the_classes_of_cpp_share_move_and_throw() {
    let folder = scratch();
    let source = folder.path().join("classes.cc");
    std::fs::write(&source, CLASSES).unwrap();
    let program = CProgram::build(&source);
    let output = program.run(&[fixture("model")]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}

const CLASSES: &str = r#"
#include <bertscript/bertscript.hpp>
#include <cstdio>
#define CHECK(condition) \
    if (!(condition)) { std::fprintf(stderr, "%d: %s\n", __LINE__, #condition); return 1; }

int main(int, char **argv) {
    using namespace bertscript;
    export_checkpoint(argv[1], "model.pt");
    Module module("model.pt");
    Module copy = module;
    Module moved = std::move(module);
    CHECK(module.get() == nullptr);
    module = copy;
    const Tensor ids({1, 3}, std::vector<std::int64_t>{2, 9, 3});
    const auto outputs = module.run({{"input_ids", ids}});
    CHECK(outputs.size() == 2 && outputs[1].shape() == (std::vector<std::int64_t>{1, 32}));
    const auto again = moved.run({{"input_ids", Tensor(ids)}});
    CHECK(outputs[1].data<float>()[31] == again[1].data<float>()[31]);
    CHECK(module.metadata_json().find("BertModel") != std::string::npos);
    try {
        module.run({{"words", ids}});
        CHECK(false);
    } catch (const Error &error) {
        CHECK(error.status() == BERTSCRIPT_INVALID_ARGUMENT);
    }
    try {
        Tensor({2, 2}, std::vector<float>{1});
        CHECK(false);
    } catch (const Error &error) {
        CHECK(error.status() == BERTSCRIPT_INVALID_ARGUMENT);
    }
    try {
        ids.data<float>();
        CHECK(false);
    } catch (const std::invalid_argument &) {
    }
    return 0;
}
"#;

#[test]
fn a_checkpoint_is_exported_and_run_from_c() {
    let example = example("export.c");
    let checkpoint = fixture("model");
    let output = example.run(&[checkpoint.as_os_str(), "bert.pt".as_ref()]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let shapes = "last_hidden_state 2 4 32\npooler_output 2 32\n";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), shapes);

    let output = example.run(&["nowhere", "x.pt"]);
    assert_eq!(output.status.code(), Some(1));
    let message = "error: nowhere: cannot open the checkpoint directory\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), message);
}

#[test]
fn texts_are_embedded_from_c_as_from_rust() {
    let export = example("export.c");
    let checkpoint = fixture("text/sentence");
    let file = export.folder().join("bert.pt");
    assert!(export.run(&[checkpoint.as_os_str(), file.as_os_str()]).status.success());

    let texts = ["the cat sat", "Łódź 日本 😀", ""];
    let arguments: Vec<&std::ffi::OsStr> =
        std::iter::once(file.as_os_str()).chain(texts.map(AsRef::as_ref)).collect();
    let output = example("embed.c").run(&arguments);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let cpp = example("embed.cc");
    assert_eq!(cpp.run(&arguments).stdout, output.stdout);
    let refused = cpp.run(&["nowhere.pt", "a"]);
    assert_eq!(refused.status.code(), Some(1));
    let message = "error: nowhere.pt: cannot open the archive\n";
    assert_eq!(String::from_utf8_lossy(&refused.stderr), message);

    let module = bertscript::Module::load(&file, bertscript::Device::Cpu, None).unwrap();
    let values = module.embed(texts, &bertscript::EmbedOptions::default()).unwrap().values;
    let scores = Vec::<Vec<f32>>::try_from(&values.matmul(&values.tr())).unwrap();
    let printed: String = scores
        .iter()
        .zip(texts)
        .map(|(row, text)| {
            let row: String = row.iter().map(|score| format!("{score:6.3} ")).collect();
            format!("{row} {text}\n")
        })
        .collect();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), printed);
}

#[test]
fn the_library_exports_what_the_header_declares_and_nothing_else() {
    let header = std::fs::read_to_string(root().join("include/bertscript/bertscript.h")).unwrap();
    let mut declared: Vec<_> = header
        .split("BERTSCRIPT_API")
        .skip(1)
        .filter_map(|text| {
            let name = text
                .split('(')
                .next()?
                .split(|c: char| c.is_whitespace() || c == '*')
                .next_back()?;
            name.starts_with("bertscript_").then(|| name.to_owned())
        })
        .collect();
    declared.sort();
    assert!(declared.len() > 20, "{declared:?}");
    let symbols = ok(Command::new("nm").args(["-D", "--defined-only"]).arg(library()));
    let mut exported: Vec<_> = symbols
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2).map(str::to_owned))
        .collect();
    exported.sort();
    assert_eq!(exported, declared);
}

#[test]
fn the_library_needs_libtorch_and_the_system_only() {
    let dynamic = ok(Command::new("readelf").arg("-d").arg(library()));
    let needed: Vec<_> = dynamic
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| line.split(['[', ']']).nth(1))
        .collect();
    let allowed = |name: &str| {
        let system = ["libstdc++.so", "libgcc_s.so", "libm.so", "libc.so", "ld-linux"];
        ["libtorch_cpu.so", "libc10.so"].contains(&name)
            || system.iter().any(|known| name.starts_with(known))
    };
    let others: Vec<_> = needed.iter().filter(|name| !allowed(name)).collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(needed.contains(&"libtorch_cpu.so"), "{needed:?}");
    for line in ["[libbertscript.so.0.1]", "NODELETE", "RUNPATH"] {
        assert!(dynamic.contains(line), "{line}\n{dynamic}");
    }
}
