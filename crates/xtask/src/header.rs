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
    String::from_utf8(text).context("the header is not UTF-8")
}
