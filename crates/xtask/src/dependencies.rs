//! Every crate that is depended on has its reason in CONTRIBUTING.md.

use crate::root;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

const LIST: &str = "CONTRIBUTING.md";
const SECTION: &str = "## Dependencies\n";
/// Of the sources of `crates/bertscript`, without what its feature `torch` needs.
const RUNTIME: &str = "crates/bertscript-runtime/Cargo.toml";
/// The tables of a crate's manifest.
const TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// What is depended on without a reason, and the reverse.
pub(crate) fn findings(files: &[PathBuf]) -> Result<Vec<String>> {
    let read = |path: &str| {
        fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
    };
    let (mut used, mut own) = (BTreeSet::new(), BTreeSet::new());
    for path in files.iter().filter(|path| path.ends_with("Cargo.toml")) {
        let manifest = read(&path.display().to_string())?;
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = "));
        own.extend(name.map(|name| name.trim_matches('"').to_owned()));
        used.extend(dependencies(&manifest, &TABLES));
    }
    let offered = dependencies(&read("Cargo.toml")?, &["workspace.dependencies"]);
    let explained = explained(&read(LIST)?);
    let without = used.iter().filter(|name| !own.contains(*name) && !explained.contains(*name));
    let without = without.map(|name| format!("{LIST}: {name} has no reason"));
    let stale = explained.difference(&used).map(|name| format!("{LIST}: nothing needs {name}"));
    let idle = offered.difference(&used).map(|name| format!("Cargo.toml: nothing needs {name}"));
    let [all, runtime] = [read("crates/bertscript/Cargo.toml")?, read(RUNTIME)?];
    Ok(without.chain(stale).chain(idle).chain(unequal(&all, &runtime)).collect())
}

/// What one of two manifests of the same sources needs and the other does not; what is optional
/// in the first comes with a feature that the second lacks.
fn unequal(all: &str, runtime: &str) -> Vec<String> {
    let required: String = all
        .lines()
        .filter(|line| !line.contains("optional = true"))
        .fold(String::new(), |text, line| text + line + "\n");
    let [all, runtime] =
        [&required, runtime].map(|manifest| dependencies(manifest, &["dependencies"]));
    let differ = all.symmetric_difference(&runtime);
    differ
        .map(|name| format!("{RUNTIME}: {name} is needed by only one of it and crates/bertscript"))
        .collect()
}

/// The names in some tables of a manifest.
fn dependencies(manifest: &str, tables: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut wanted = false;
    for line in manifest.lines() {
        if let Some(table) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            wanted = tables.contains(&table);
        } else if wanted && line.contains('=') && !line.starts_with('#') {
            names.extend(line.split(['=', '.', ' ']).next().map(str::to_owned));
        }
    }
    names
}

/// `- `zip`: reads archives` of the section.
fn explained(list: &str) -> BTreeSet<String> {
    let section = list.split_once(SECTION).map_or("", |(_, rest)| rest);
    let section = section.split("\n## ").next().unwrap_or_default();
    let lines = section.lines().filter_map(|line| line.strip_prefix("- `")?.split_once("`: "));
    lines.map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_of_the_same_sources_need_the_same() {
        let all = "[dependencies]\na = \"1\"\ntch = { version = \"1\", optional = true }\n";
        assert!(unequal(all, "[dependencies]\na = \"1\"\n").is_empty());
        assert_eq!(unequal(all, "[dependencies]\n").len(), 1);
        assert_eq!(unequal(all, "[dependencies]\na = \"1\"\nb = \"2\"\n").len(), 1);
    }

    #[test]
    fn names_are_found_however_they_are_written() {
        let manifest = "[package]\nname = \"x\"\n\n[dependencies]\nzip = \"9\"\ntch.workspace = true\n# Why.\nfs4 = { version = \"1\" }\n\n[lints]\nworkspace = true\n\n[build-dependencies]\ncc = \"1\"\n";
        let found: Vec<_> = dependencies(manifest, &TABLES).into_iter().collect();
        assert_eq!(found, ["cc", "fs4", "tch", "zip"]);
        let list = "- `other`: x\n## Dependencies\n\nIn the library:\n\n- `zip`: reads archives\n- prose\n\n## Next\n- `tch`: y\n";
        assert_eq!(explained(list).into_iter().collect::<Vec<_>>(), ["zip"]);
    }
}
