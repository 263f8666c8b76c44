//! The rules of the house that a machine can keep.

use crate::{dependencies, limits, root};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Past this many lines a file holds a second idea.
const MAX_FILE_LINES: usize = 400;

/// Nobody writes this one.
const GENERATED: &str = "include/bertscript/bertscript.h";

/// A crate whose modules stand from left to right: each imports only from its left.
struct Order {
    sources: &'static str,
    modules: &'static [&'static str],
}

const ORDERS: [Order; 2] = [
    Order {
        sources: "crates/bertscript/src",
        modules: &[
            "error",
            "memory",
            "shapes",
            "plugin",
            "process",
            "parallel",
            "device",
            "ceiling",
            "tensor",
            "activation",
            "attention",
            "family",
            "config",
            "example",
            "atomic_file",
            "assets",
            "checkpoint",
            "compare",
            "untie",
            "weights",
            "load",
            "survey",
            "nn",
            "models",
            "trace",
            "archive",
            "text",
            "embedding",
            "batch",
            "engine",
            "module",
            "eager",
            "tasks",
            "verify",
            "export",
            "answer",
        ],
    },
    Order {
        sources: "crates/kernels/src",
        modules: &[
            "reference",
            "memory",
            "bf16",
            "team",
            "simd",
            "element",
            "matrix",
            "microkernel",
            "arch",
            "isa",
            "instances",
            "math",
            "activation",
            "gemm",
            "linear",
            "attention",
            "layer_norm",
            "rope",
            "glu",
        ],
    },
];

/// Names that say nothing.
const EMPTY_NAMES: [&str; 5] = ["utils", "util", "helpers", "common", "manager"];

pub(crate) fn tidy() -> Result<()> {
    crate::announce("tidy");
    let mut findings = Vec::new();
    let files = tracked_files()?;
    findings.extend(limits::findings(&files)?);
    findings.extend(dependencies::findings(&files)?);
    for path in files {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        let shown = path.display().to_string();
        let size = fs::metadata(root().join(&path)).map_or(0, |found| found.len());
        if size > 1 << 20 {
            findings.push(format!("{shown}: {size} bytes; no file over 1 MiB belongs in git"));
        }
        if path.file_stem().is_some_and(|stem| EMPTY_NAMES.iter().any(|name| stem == *name)) {
            findings.push(format!("{shown}: the name says nothing about what is inside"));
        }
        let kinds = ["rs", "cpp", "hpp", "c", "h", "py", "toml", "md", "yml", "in"];
        if !kinds.contains(&extension) {
            continue;
        }
        let Ok(text) = fs::read_to_string(root().join(&path)) else {
            continue; // deleted, but not yet from the index
        };
        let is_code = ["rs", "cpp", "hpp", "c", "h", "py"].contains(&extension);
        if is_code && shown != GENERATED && text.lines().count() > MAX_FILE_LINES {
            findings
                .push(format!("{shown}: over {MAX_FILE_LINES} lines; look for the second idea"));
        }
        if let Some((order, module)) = ordered_module(&path) {
            findings.extend(imports_to_the_right(order, &shown, module, &text));
        }
        if path.starts_with("crates/bertscript/src") {
            let describes_upstream =
                ["nn/", "models/bert", "activation.rs"].iter().any(|part| shown.contains(part));
            if describes_upstream && !text.contains("https://") {
                findings.push(format!("{shown}: no link to the upstream class"));
            }
        }
        if path.starts_with("crates/bertscript-ffi/src") {
            let unguarded = unguarded(&text);
            let findings_here = unguarded.map(|name| format!("{shown}: {name} has no guard"));
            findings.extend(findings_here);
        }
        for (number, line) in text.lines().enumerate() {
            if line.ends_with([' ', '\t']) {
                findings.push(format!("{shown}:{}: trailing white space", number + 1));
            }
        }
    }
    if findings.is_empty() {
        return Ok(());
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    bail!("tidy found {} things", findings.len())
}

/// The files that git tracks or would track.
fn tracked_files() -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root());
    let list = crate::command::output(&mut git).context("git cannot list the files")?;
    Ok(list.lines().map(PathBuf::from).collect())
}

/// `crates/bertscript/src/nn/linear.rs` -> `nn`, with the order of its crate
fn ordered_module(path: &Path) -> Option<(&'static Order, &'static str)> {
    ORDERS.iter().find_map(|order| {
        let inside = path.strip_prefix(order.sources).ok()?;
        let first = inside.components().next()?.as_os_str().to_str()?;
        let name = first.strip_suffix(".rs").unwrap_or(first);
        order.modules.iter().find(|module| **module == name).map(|module| (order, *module))
    })
}

fn imports_to_the_right(order: &Order, shown: &str, module: &str, text: &str) -> Vec<String> {
    let rank = |name: &str| order.modules.iter().position(|known| *known == name);
    let own = rank(module);
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let is_comment = line.trim_start().starts_with("//");
        for rest in line.split("crate::").skip(1) {
            let place = format!("{shown}:{}", number + 1);
            let imported =
                rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or("");
            let is_module = imported.starts_with(|c: char| c.is_lowercase());
            if rank(imported) > own {
                findings.push(format!(
                    "{place}: {module} imports {imported}, which stands to its right"
                ));
            } else if !is_module && !is_comment {
                // By `crate::{..}` or a name of `lib.rs` an import of any module would pass.
                findings.push(format!("{place}: expected crate::MODULE::NAME"));
            }
        }
    }
    findings
}

/// C functions that can fail and whose body no guard stands around.
fn unguarded(text: &str) -> impl Iterator<Item = &str> {
    text.split("extern \"C\" fn ").skip(1).filter_map(|function| {
        let body = function.split("\n}\n").next().unwrap_or(function);
        let name = function.split('(').next().unwrap_or(function);
        let fails = body.contains("    err: ") || body.contains("(err: ");
        let guarded = body.contains("guard(err, ") || body.contains("set(options, err, ");
        (fails && !guarded).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_go_one_way() {
        let found = |module, line| imports_to_the_right(&ORDERS[0], "f", module, line).len();
        assert_eq!(found("nn", "use crate::weights::Weights;"), 0);
        assert_eq!(found("nn", "use crate::nn::Linear;"), 0);
        assert_eq!(found("nn", "use crate::models::Model;"), 1);
        assert_eq!(found("checkpoint", "    crate::archive::save()"), 1);
        assert_eq!(found("config", "use crate::nn::Linear;"), 1);
        assert_eq!(found("nn", "let x = (crate::weights::X, crate::models::Y);"), 1);
        assert_eq!(found("nn", "use crate::{Module, models::Model};"), 1);
        assert_eq!(found("nn", "fn f(module: &crate::Module)"), 1);
        assert_eq!(found("nn", "/// Of a [`Module`](crate::Module)"), 0);
    }

    #[test]
    fn a_function_without_a_guard_is_found() {
        let function = "pub unsafe extern \"C\" fn f(err: E) -> bertscript_status {\n    guard(err, body)\n}\n";
        assert_eq!(unguarded(function).count(), 0);
        let bare = function.replace("guard(err, body)", "body()");
        assert_eq!(unguarded(&bare).collect::<Vec<_>>(), ["f"]);
        let getter = bare.replace("err: E", "row: usize");
        assert_eq!(unguarded(&getter).count(), 0);
    }

    #[test]
    fn every_module_has_a_place() {
        for Order { sources, modules } in &ORDERS {
            for entry in fs::read_dir(root().join(sources)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let module = name.strip_suffix(".rs").unwrap_or(&name);
                assert!(module == "lib" || modules.contains(&module), "{sources}: {module}");
            }
        }
    }
}
