//! What programs that are compiled already rely on: the interface may grow, but
//! nothing in it may change while the soname stays.

use crate::root;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;

const HEADER: &str = "include/bertscript/bertscript.h";
/// The interface of the last release.
const DESCRIPTION: &str = "crates/bertscript-ffi/abi.txt";

/// Describes the header of a release.
pub(crate) fn accept() -> Result<()> {
    let lines: Vec<_> = describe(&read(HEADER)?).into_iter().collect();
    fs::write(root().join(DESCRIPTION), lines.join("\n") + "\n")
        .with_context(|| format!("cannot write {DESCRIPTION}"))
}

/// Fails if something of the last release is not in the header any more.
pub(crate) fn check() -> Result<()> {
    crate::announce("C interface against the last release's");
    let missing = missing(&read(DESCRIPTION)?, &read(HEADER)?);
    if missing.is_empty() {
        return Ok(());
    }
    for line in &missing {
        eprintln!("changed or removed: {line}");
    }
    bail!("{} parts of the C interface changed: programs would break", missing.len())
}

fn read(name: &str) -> Result<String> {
    fs::read_to_string(root().join(name)).with_context(|| format!("cannot read {name}"))
}

fn missing(description: &str, header: &str) -> Vec<String> {
    let found = describe(header);
    description.lines().filter(|line| !found.contains(*line)).map(str::to_owned).collect()
}

/// A line for each function, constant, callback type and member of a structure.
/// Members are numbered: a structure may grow at its end only.
fn describe(header: &str) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    let code = without_comments(header);
    for line in code.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some("#define")
            && let (Some(name), Some(value)) = (words.next(), words.next())
            && value.parse::<i64>().is_ok()
            && name != "BERTSCRIPT_ABI_VERSION"
        {
            lines.insert(format!("{name} = {value}"));
        }
    }
    let code: String =
        code.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(" ");
    let code = code.replace("BERTSCRIPT_API", " ").replace("BERTSCRIPT_NOEXCEPT", " ");
    for (name, body) in structures(&code) {
        for (number, member) in body.split(';').map(one_line).enumerate() {
            if !member.is_empty() {
                lines.insert(format!("struct {name} {number}: {member}"));
            }
        }
    }
    let declarations = code.split(';').map(one_line).filter(|text| text.contains('('));
    lines.extend(
        declarations.filter(|text| text.starts_with("typedef") || text.contains("bertscript_")),
    );
    lines
}

/// The names and bodies of the structures that are not opaque.
fn structures(code: &str) -> Vec<(String, String)> {
    let bodies = code.split("typedef struct ").skip(1).filter_map(|text| {
        let (name, rest) = text.split_once('{')?;
        // An opaque one ends before any body begins.
        let (body, _) = rest.split_once('}').filter(|_| !name.contains(';'))?;
        Some((name.trim().to_owned(), body.to_owned()))
    });
    bodies.collect()
}

fn without_comments(header: &str) -> String {
    let mut code = String::new();
    let mut rest = header;
    while let Some((before, comment)) = rest.split_once("/*") {
        code += before;
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    code + rest
}

fn one_line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // What stands before a declaration of a header: the end of a C++ block.
    text.trim_start_matches(['{', '}', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "
#define BERTSCRIPT_ABI_VERSION 1
/* A comment; with (things) in it. */
#define BERTSCRIPT_OK 0
#define BERTSCRIPT_IO 5
typedef struct bertscript_error bertscript_error;
typedef struct bertscript_label {
  /** Text. */
  const char *label;
  float score;
} bertscript_label;
typedef void (*bertscript_callback)(void *user);
BERTSCRIPT_API
int32_t bertscript_run(const bertscript_label *label,
                       size_t count) BERTSCRIPT_NOEXCEPT;
";

    #[test]
    fn growing_is_no_change() {
        let description = describe(HEADER).into_iter().collect::<Vec<_>>().join("\n");
        assert_eq!(description.lines().count(), 6, "{description}");
        let grown = HEADER.replace("float score;", "float score; int64_t id;")
            + "#define BERTSCRIPT_NEW 6\nBERTSCRIPT_API void bertscript_more(void);";
        assert!(missing(&description, &grown).is_empty());
    }

    #[test]
    fn every_other_change_is_found() {
        let description = describe(HEADER).into_iter().collect::<Vec<_>>().join("\n");
        for (from, to) in [
            ("BERTSCRIPT_IO 5", "BERTSCRIPT_IO 6"),
            ("size_t count", "int32_t count"),
            ("bertscript_run", "bertscript_go"),
            ("const char *label;", "int32_t id; const char *label;"),
            ("float score", "double score"),
            ("(void *user)", "(void *user, int32_t level)"),
        ] {
            let changed = HEADER.replace(from, to);
            assert!(!missing(&description, &changed).is_empty(), "{from} -> {to}");
        }
    }
}
