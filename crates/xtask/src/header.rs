//! `include/bertscript/bertscript.h`, from the functions of the C ABI.

use crate::root;
use anyhow::{Context, Result, bail};
use std::fs;

const HEADER: &str = "include/bertscript/bertscript.h";

/// Writes the header; or, to check, fails if it is not what would be written.
pub(crate) fn header(check: bool) -> Result<()> {
    crate::announce("header");
    let found = fs::read_to_string(root().join(HEADER)).unwrap_or_default();
    let wanted = generate()?;
    let undocumented = undocumented(&wanted);
    if !undocumented.is_empty() {
        bail!("the C functions are not documented whole:\n{}", undocumented.join("\n"));
    }
    if found == wanted {
        return Ok(());
    }
    if check {
        bail!(
            "{HEADER} differs from the functions of crates/bertscript-ffi; run `cargo xtask header`"
        );
    }
    fs::create_dir_all(root().join("include/bertscript"))?;
    fs::write(root().join(HEADER), wanted).with_context(|| format!("cannot write {HEADER}"))
}

fn generate() -> Result<String> {
    let directory = root().join("crates/bertscript-ffi");
    let config = cbindgen::Config::from_file(directory.join("cbindgen.toml"))
        .map_err(|error| anyhow::anyhow!("cbindgen.toml: {error}"))?;
    let builder =
        cbindgen::Builder::new().with_config(config).with_src(directory.join("src/lib.rs"));
    let mut text = Vec::new();
    builder.generate().context("cbindgen cannot read bertscript-ffi")?.write(&mut text);
    let mut text = String::from_utf8(text).context("the header is not UTF-8")?;
    // cbindgen ends its conditions with comments that C89 does not have.
    for comment in ["__cplusplus", "extern \"C\""] {
        text = text.replace(&format!("// {comment}"), &format!("/* {comment} */"));
    }
    Ok(text)
}

/// What the documentation of the functions leaves out: a parameter, who owns
/// what, or which threads may call. `err` and the handle that a function belongs
/// to are explained once, at the top.
fn undocumented(header: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for part in header.split("\n/**\n").skip(1) {
        let Some((comment, code)) = part.split_once("*/") else { continue };
        let Some((declaration, _)) = code.split_once(';') else { continue };
        let Some((front, parameters)) = declaration.trim().split_once('(') else { continue };
        if !front.starts_with("BERTSCRIPT_API") {
            continue;
        }
        let name = front.rsplit([' ', '\n', '*']).next().unwrap_or(front);
        let mut lacks = |what: &str| findings.push(format!("{name}: {what}"));
        if !comment.contains("Thread safety:") {
            lacks("no \"Thread safety:\"");
        }
        let parameters = parameters.split(')').next().unwrap_or_default();
        let parameters: Vec<_> = parameters.split(',').map(str::trim).collect();
        for (number, parameter) in parameters.iter().enumerate() {
            let called = parameter.rsplit([' ', '*']).next().unwrap_or(parameter);
            let mut types = parameter.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            let own = types.any(|word| {
                word.starts_with("bertscript_") && name.starts_with(&format!("{word}_"))
            });
            let is_self = number == 0 && own;
            if !["err", "void"].contains(&called)
                && !is_self
                && !comment.contains(&format!("@param {called} "))
            {
                lacks(&format!("no \"@param {called}\""));
            }
        }
        let gives = parameters.iter().any(|parameter| {
            parameter.contains("**")
                && !parameter.contains("*const *")
                && !parameter.ends_with("err")
        });
        let returns = front.contains('*');
        if (gives || returns) && !comment.contains("Ownership:") {
            lacks("no \"Ownership:\"");
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_documented_is_found() {
        let header = "
/**
 * Makes a thing.
 *
 * @param size how large
 *
 * Ownership: the caller frees it.
 * Thread safety: any thread.
 */
BERTSCRIPT_API
int32_t bertscript_thing_make(const bertscript_thing *thing, size_t size,
                              bertscript_thing **out, bertscript_error **err);
";
        assert_eq!(undocumented(header), ["bertscript_thing_make: no \"@param out\""]);
        let complete = header.replace("@param size", "@param out it\n * @param size");
        assert!(undocumented(&complete).is_empty());
        for line in [" * Ownership: the caller frees it.\n", " * Thread safety: any thread.\n"] {
            assert_eq!(undocumented(&complete.replace(line, "")).len(), 1, "{line}");
        }
    }
}
