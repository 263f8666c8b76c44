//! Threads under LLVM's sanitizer of races: Rust, its standard library and the
//! shim are compiled with it, libtorch is as it is.

use crate::command::run;
use crate::{announce, nightly, root, setup};
use anyhow::Result;
use std::path::Path;

/// What runs: a package, and what cargo is told of its tests.
const TESTS: [(&str, &str, &[&str]); 4] = [
    ("handles of the C interface", "bertscript-ffi", &["--test", "handles_alone"]),
    ("worker threads", "bertscript-process", &["--test", "threads"]),
    ("everything at once", "bertscript-tests", &["--test", "soak"]),
    (
        "kernels, shared by threads",
        "bertscript-kernels",
        &["--test", "kernels", "batch_invariance"],
    ),
];

/// How many a call has, on whichever machine.
const THREADS: &str = "3";

pub(crate) fn tsan() -> Result<()> {
    setup::setup()?;
    nightly::install(&["rust-src"])?;
    // Named, so that what runs while others are compiled is compiled as usual.
    let host = nightly::host()?;
    let suppressions = Path::new(env!("CARGO_MANIFEST_DIR")).join("tsan.suppressions");
    for (what, package, tests) in TESTS {
        announce(&format!("{what}, watched for races"));
        // Optimised, as the sanitizer makes it ten times slower; with the lines it reports.
        run(nightly::cargo(["test", "--release", "--locked", "-Zbuild-std", "--target", &host])
            .args(["--package", package])
            .args(tests)
            .env("RUSTFLAGS", "-Zsanitizer=thread")
            .env("CXXFLAGS", "-fsanitize=thread")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only")
            .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
            .env("TSAN_OPTIONS", format!("suppressions={}", suppressions.display()))
            .env("OMP_NUM_THREADS", THREADS)
            .env("BERTSCRIPT_SOAK_ROUNDS", "1")
            .env("CARGO_TARGET_DIR", root().join("target/tsan")))?;
    }
    Ok(())
}
