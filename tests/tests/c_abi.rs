//! The C ABI from outside: the header compiles everywhere, and the library keeps
//! to its exports.

use bertscript_tests::{binary, installed, library, library_of_torch, root};
use std::process::Command;

/// Runs a command, which must succeed, and returns its standard output.
fn ok(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_header_compiles_as_every_c_and_cpp() {
    let header = root().join("include/bertscript/bertscript.h");
    let strict =
        ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror", "-fsyntax-only"];
    for compiler in installed(&["gcc", "clang"]) {
        for standard in ["c89", "c99", "c11", "c17"] {
            ok(Command::new(compiler)
                .arg(format!("-std={standard}"))
                .args(strict)
                .args(["-Wstrict-prototypes", "-x", "c"])
                .args((compiler == "gcc").then_some("-Wc++-compat"))
                .arg(&header));
        }
    }
    for compiler in installed(&["g++", "clang++"]) {
        for standard in ["c++11", "c++17", "c++20"] {
            let standard = format!("-std={standard}");
            ok(Command::new(compiler).arg(standard).args(strict).args(["-x", "c++"]).arg(&header));
        }
    }
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
fn library_and_command_need_the_system_alone() {
    let dynamic = |file| ok(Command::new("readelf").arg("-d").arg(file));
    for file in [library(), binary()] {
        let dynamic = dynamic(file);
        let needed = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
        let needed: Vec<_> = needed.filter_map(|line| line.split(['[', ']']).nth(1)).collect();
        let system = ["libgcc_s.so", "libm.so", "libc.so", "ld-linux"];
        let is_known = |name: &&str| system.iter().any(|known| name.starts_with(known));
        assert!(!needed.is_empty() && needed.iter().all(is_known), "{needed:?}");
        assert!(!dynamic.contains("RUNPATH"), "{dynamic}");
    }
    let library = dynamic(library());
    for line in ["[libbertscript.so.0.1]", "NODELETE"] {
        assert!(library.contains(line), "{line}\n{library}");
    }
    // The plug-in has libtorch, and is where both find it.
    let plugin = dynamic(library_of_torch());
    for line in ["[libbertscript_torch.so]", "[libtorch_cpu.so]", "NODELETE", "RUNPATH"] {
        assert!(plugin.contains(line), "{line}\n{plugin}");
    }
    let symbols =
        Command::new("nm").args(["-D", "--defined-only"]).arg(library_of_torch()).output();
    let symbols = String::from_utf8(symbols.unwrap().stdout).unwrap();
    let exported: Vec<_> =
        symbols.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(exported, ["bertscript_torch_interface"]);
}

#[test]
fn no_profile_turns_an_error_into_an_abort() {
    // What is built in this way does not compile either, but nothing here builds a release.
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("[profile.release]\npanic = \"unwind\""));
    assert!(!manifest.contains("\"abort\""));
}
