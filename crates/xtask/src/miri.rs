//! What no libtorch is asked for in Rust's own interpreter, which finds what a
//! sanitizer cannot: broken aliasing, and races that did not happen.
//!
//! Miri calls no foreign function and maps no file. So of weights the lists of
//! tensors are read and no tensor, of sentence-transformers' files `modules.json`
//! alone, and texts are encoded one by one. The `tokenizers` crate is built without
//! its parts in C and C++ (onig, esaxx), and runs as it is.

use crate::command::run;
use crate::{announce, nightly, root};
use anyhow::Result;

/// What runs: a package, and what cargo is told of its tests.
const TESTS: [(&str, &str, &[&str]); 6] = [
    ("handles of the C interface", "bertscript-ffi", &["--test", "handles_alone"]),
    ("tensors of other libraries", "bertscript-plugin", &["--lib"]),
    ("worker threads", "bertscript-process", &["--test", "threads"]),
    ("records and signatures of archives", "torchscript-reader", &["--lib"]),
    (
        "readers of checkpoints and text",
        "bertscript-runtime",
        &["--lib", "--", "checkpoint::", "text::", "embedding::"],
    ),
    ("inputs that fuzzing keeps", "bertscript-tests", &["--test", "fuzzing"]),
];

pub(crate) fn miri() -> Result<()> {
    nightly::install(&["miri", "rust-src"])?;
    for (what, package, tests) in TESTS {
        announce(&format!("{what} under Miri"));
        run(nightly::cargo(["miri", "test", "--locked", "--package", package])
            .args(tests)
            // They read files.
            .env("MIRIFLAGS", "-Zmiri-disable-isolation")
            .env("CARGO_TARGET_DIR", root().join("target/miri")))?;
    }
    Ok(())
}
