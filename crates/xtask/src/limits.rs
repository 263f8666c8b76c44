//! The limits in `docs/security.md` are those in the code.

use crate::root;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const TABLE: &str = "docs/security.md";
/// The crates that read what strangers give.
const CRATES: [&str; 5] =
    ["bertscript", "bertscript-ffi", "plugin", "process", "torchscript-reader"];
/// What the name of a limit begins with.
const PREFIX: &str = "MAX_";

/// File, name and number of a limit.
type Limit = (String, String, u64);

/// What stands in the table and not in the code, and the reverse.
pub(crate) fn findings(files: &[PathBuf]) -> Result<Vec<String>> {
    let read = |path: &Path| {
        fs::read_to_string(root().join(path))
            .with_context(|| format!("cannot read {}", path.display()))
    };
    let documented: BTreeSet<_> = documented(&read(Path::new(TABLE))?).collect();
    let mut enforced = BTreeSet::new();
    for path in files {
        let of_a_reader = CRATES.iter().any(|name| path.starts_with(format!("crates/{name}/src")));
        if of_a_reader && root().join(path).exists() {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            enforced.extend(self::enforced(&file, &read(path)?));
        }
    }
    let say = |(file, name, value): &Limit, message: &str| {
        format!("{TABLE}: {name} of {file}, {value}, {message}")
    };
    let stale = documented.difference(&enforced).map(|limit| say(limit, "is not in the code"));
    let missing = enforced.difference(&documented).map(|limit| say(limit, "is not in the table"));
    Ok(stale.chain(missing).collect())
}

/// `| a text | 16 MiB | `limits.rs` | `MAX_TEXT_BYTES` |`
fn documented(text: &str) -> impl Iterator<Item = Limit> {
    text.lines().flat_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let limits = match cells.as_slice() {
            ["", _, value, file, names, ""] => number(value).map(|value| {
                let file = file.trim_matches('`').to_owned();
                let names = names.split(", ").map(|name| name.trim_matches('`').to_owned());
                names.map(|name| (file.clone(), name, value)).collect()
            }),
            _ => None,
        };
        limits.unwrap_or_else(Vec::new)
    })
}

/// `const MAX_TEXT_BYTES: usize = 16 << 20;`
fn enforced(file: &str, text: &str) -> impl Iterator<Item = Limit> {
    let limit = |line: &str| {
        let (name, rest) = line.split_once("const ")?.1.split_once(':')?;
        let value = rest.split_once('=')?.1.trim().trim_end_matches(';');
        name.starts_with(PREFIX).then_some((name.to_owned(), number(value)?))
    };
    text.lines().filter_map(limit).map(move |(name, value)| (file.to_owned(), name, value))
}

/// A number as Rust or a reader would write it.
fn number(text: &str) -> Option<u64> {
    let text = text.trim_end_matches(" bytes");
    let (digits, shift) = match text.split_once(" << ") {
        Some((digits, shift)) => (digits, shift.parse().ok()?),
        None => text.strip_suffix(" MiB").map_or((text, 0), |digits| (digits, 20)),
    };
    let digits: u64 = digits.replace([',', '_'], "").parse().ok()?;
    Some(digits << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_and_the_code_are_read_alike() {
        let limit = |name: &str, value| ("f.rs".to_owned(), name.to_owned(), value);
        let table = "| | at most | | |\n|---|---|---|---|\n| a text | 16 MiB | `f.rs` | `MAX_TEXT_BYTES` |\n| both | 1,024 | `f.rs` | `MAX_A`, `MAX_B` |\n";
        let text = limit("MAX_TEXT_BYTES", 16 << 20);
        let expected = [text.clone(), limit("MAX_A", 1024), limit("MAX_B", 1024)];
        assert_eq!(documented(table).collect::<Vec<_>>(), expected);
        let code = "pub(super) const MAX_TEXT_BYTES: usize = 16 << 20;\nconst CHUNK: usize = 512;\nconst MAX_A: i64 = 1 << 10;\n    pub(super) const MAX_B: i64 = 1_024;\nlet c = 3;\n";
        assert_eq!(enforced("f.rs", code).collect::<Vec<_>>(), expected);
    }
}
