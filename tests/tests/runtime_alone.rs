//! Library and command where there is no libtorch.

use bertscript_tests::{CProgram, bertscript_ok, binary, copy_of, fixture, root, scratch};
use std::path::Path;
use std::process::{Command, Output};

/// Where no plug-in is.
const NONE: &str = "/nowhere/libbertscript_torch.so";

fn exported(folder: &Path) -> String {
    let file = folder.join("sentence.pt").to_str().unwrap().to_owned();
    bertscript_ok(&["export", fixture("text/sentence").to_str().unwrap(), "-o", &file]);
    file
}

fn alone(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).env("BERTSCRIPT_TORCH", NONE).output().unwrap()
}

#[test]
fn the_library_runs_archives_and_refuses_the_rest_by_name() {
    let program = CProgram::build(&root().join("tests/c/alone.c"));
    let file = exported(program.folder());
    let mut command = program.command();
    command.arg(file).arg(fixture("text/sentence")).env("BERTSCRIPT_TORCH", NONE);
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}");
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines.len(), 7);
    let expected = "TORCH_UNAVAILABLE: the engine torchscript requires libtorch: \
                    /nowhere/libbertscript_torch.so, which BERTSCRIPT_TORCH names, is not a file";
    assert_eq!(lines[0], expected);
}

#[test]
fn the_command_runs_archives_and_refuses_the_rest_by_name() {
    let scratch = scratch();
    let file = exported(scratch.path());
    let texts = scratch.path().join("texts.txt");
    std::fs::write(&texts, "the cat sat\nwho was it?\n").unwrap();
    let embed = ["embed", &file, "--input", texts.to_str().unwrap()];
    let output = alone(&embed);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), bertscript_ok(&embed));
    for arguments in [&["inspect", &file][..], &["devices"]] {
        let output = alone(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let (checkpoint, other) = (fixture("text/sentence"), scratch.path().join("other.pt"));
    let export = ["export", checkpoint.to_str().unwrap(), "-o", other.to_str().unwrap()];
    let by_code = [&embed[..], &["--engine", "torchscript"]].concat();
    for arguments in [&export[..], &by_code, &["verify", &file], &["bench", &file]] {
        let output = alone(arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(
            message.contains("requires libtorch: /nowhere/libbertscript_torch.so"),
            "{message}"
        );
    }
    assert!(!other.exists());
}

#[test]
fn what_is_missing_below_the_plug_in_is_told_as_missing() {
    let checkpoint = copy_of("format-safetensors-sharded");
    let is_shard = |name: &str| name.starts_with("model-") && name.ends_with(".safetensors");
    let entries = std::fs::read_dir(checkpoint.path()).unwrap().map(|entry| entry.unwrap());
    let shard = entries
        .map(|entry| entry.path())
        .find(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_shard));
    std::fs::remove_file(shard.unwrap()).unwrap();
    let directory = std::ffi::CString::new(checkpoint.path().to_str().unwrap()).unwrap();
    let (mut model, mut error) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the texts and places are live; the error is freed once.
    unsafe {
        let status = bertscript_ffi::bertscript_model_from_pretrained(
            directory.as_ptr(),
            std::ptr::null(),
            &raw mut model,
            &raw mut error,
        );
        assert_eq!(status, bertscript_ffi::BERTSCRIPT_NOT_FOUND);
        bertscript_ffi::bertscript_error_free(error);
    }
}
