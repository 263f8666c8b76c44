//! What a build with libtorch writes, by a program of `bertscript-tests`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder of archives and results, written once for each name.
pub(crate) fn folder(name: &str) -> &'static Path {
    static WRITTEN: OnceLock<PathBuf> = OnceLock::new();
    WRITTEN.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // Those of another run are not to be compared.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        // For the whole workspace, as which it was built before.
        cargo.args(["build", "--quiet", "--locked", "--workspace", "--bin", "results"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "the program does not build");
        // target/PROFILE/deps/this-test
        let test = std::env::current_exe().unwrap();
        let program = test.ancestors().nth(2).unwrap().join("results");
        let status = Command::new(program).arg(&folder).env_remove("BERTSCRIPT_TORCH").status();
        assert!(status.unwrap().success(), "the results with libtorch were not written");
        folder
    })
}

/// The checkpoints that were made archives of.
pub(crate) fn checkpoints() -> Vec<PathBuf> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let fixtures = above.map(|folder| folder.join("tests/fixtures")).find(|folder| folder.is_dir());
    crate::results::checkpoints(&fixtures.expect("the repository has tests/fixtures"))
}
