//! The checks for a CUDA device, as far as they run without one.

use bertscript_tests::{CProgram, binary, root, scratch};
use std::process::Command;

/// `gpu-check` with the programs beside it that it starts.
fn prepared() -> (tempfile::TempDir, std::path::PathBuf, CProgram) {
    let folder = scratch();
    let program = folder.path().join("gpu-check");
    std::fs::copy(env!("CARGO_BIN_EXE_gpu-check"), &program).unwrap();
    std::os::unix::fs::symlink(binary(), folder.path().join("bertscript")).unwrap();
    let example = CProgram::build(&root().join("examples-c/embed.c"));
    let embed = example.folder().join("program");
    std::os::unix::fs::symlink(embed, folder.path().join("embed-c")).unwrap();
    let data = folder.path().join("data");
    let output = Command::new(&program).arg("prepare").arg(&data).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (folder, program, example)
}

#[test]
fn the_checks_work_and_say_when_nothing_was_checked() {
    let (folder, program, _example) = prepared();
    let data = folder.path().join("data");
    let output = Command::new(&program).arg("rehearse").arg(&data).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && stdout.ends_with("\n8 passed, 0 failed, 0 skipped\n"),
        "{stdout}"
    );

    // A wrong reference is seen, so the checks can fail.
    let golden = data.join("goldens/model/outputs.safetensors");
    std::fs::copy(data.join("goldens/model-eps/outputs.safetensors"), golden).unwrap();
    let output = Command::new(&program).arg("rehearse").arg(&data).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{stdout}");
    assert!(stdout.contains("FAILED  float32 equals transformers"), "{stdout}");

    if bertscript::Devices::find().unwrap().cuda.is_empty() {
        let output = Command::new(&program).arg("run").arg(&data).output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert_eq!(stdout, "0 passed, 0 failed, 19 skipped\n");
        assert!(stderr.starts_with("error: nothing was checked, there is no CUDA device: "));
    }
}
