//! The handles of the C ABI in Rust's own interpreter, which finds what a
//! sanitizer cannot: broken aliasing, and races that did not happen.

use crate::command::run;
use crate::{announce, nightly, root};
use anyhow::Result;

pub(crate) fn miri() -> Result<()> {
    nightly::install(&["miri", "rust-src"])?;
    announce("handles under Miri");
    run(nightly::cargo(["miri", "test", "--locked", "--package", "bertscript-ffi"])
        .args(["--test", "handles_alone"])
        // They read a tokenizer's files.
        .env("MIRIFLAGS", "-Zmiri-disable-isolation")
        .env("CARGO_TARGET_DIR", root().join("target/miri")))
}
