//! Modules of one file in one process.

use bertscript::{Checkpoint, Device, Dtype, Inputs, LoadOptions, Module, PreTrained, Shapes};
use bertscript_tests::{architecture, scratch, torch};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use tch::Tensor;

/// Bytes of the weights of the encoder's layers, in float32.
const LAID_OUT: u64 = 4 * 8 * (4 * 256 * 256 + 2 * 256 * 1024);

fn export(seed: u64, path: &Path) {
    let directory = scratch();
    let config = r#"{"vocab_size": 100, "hidden_size": 256, "num_hidden_layers": 8,
        "num_attention_heads": 4, "intermediate_size": 1024, "initializer_range": 0.2}"#;
    fs::write(directory.path().join("config.json"), config).unwrap();
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    let options = LoadOptions {
        architecture: Some(architecture("BertModel")),
        random_init: Some(seed),
        ..LoadOptions::default()
    };
    let model = PreTrained::from_checkpoint(&checkpoint, &options).unwrap();
    model.export(&Shapes::Any, path).unwrap();
}

fn load(path: &Path) -> Module {
    Module::load(path, Device::Cpu, None).unwrap()
}

fn run(module: &Module) -> Tensor {
    let ids = bertscript::Tensor::new((0..20).collect::<Vec<i64>>(), [2, 10]).unwrap();
    torch(module.run(&Inputs::new(ids)).unwrap().get("last_hidden_state").unwrap())
}

unsafe extern "C" {
    /// glibc's: gives back what the allocator keeps of freed memory.
    fn malloc_trim(pad: usize) -> i32;
}

/// Bytes of the process's own memory that are in use: what lies in files is not counted.
fn resident() -> u64 {
    // SAFETY: may be called at any time, by any thread.
    unsafe { malloc_trim(0) };
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// In one test, since memory is the process's.
#[test]
fn modules_of_a_file_share_what_is_laid_out() {
    let directory = scratch();
    let (path, other) = (directory.path().join("model.pt"), directory.path().join("other.pt"));
    export(1, &path);
    export(2, &other);
    // What is done once for the process.
    drop(run(&load(&other)));

    let before = resident();
    let first = load(&path);
    let expected = run(&first);
    let with_one = resident();
    assert!(with_one > before + LAID_OUT * 3 / 4, "{before} {with_one}");
    let more: Vec<_> = (0..3).map(|_| load(&path)).collect();
    for module in &more {
        assert!(run(module).equal(&expected));
    }
    let with_all = resident();
    assert!(with_all < with_one + LAID_OUT / 2, "{with_one} {with_all}: little more for three");
    let cast = Module::load(&path, Device::Cpu, Some(Dtype::BF16)).unwrap();
    assert!(!run(&cast).equal(&expected), "float32 is not for bfloat16");
    drop((cast, first, more));
    let after = resident();
    assert!(after < before + LAID_OUT / 2, "{before} {after}: nobody has it");

    // The same path, another file.
    let first = load(&path);
    assert!(run(&first).equal(&expected));
    let different = run(&load(&other));
    assert!(!different.equal(&expected));
    let contents = fs::read(&other).unwrap();
    fs::rename(&other, &path).unwrap();
    assert!(run(&load(&path)).equal(&different), "the new file");
    assert!(run(&first).equal(&expected), "the old one, which has no name any more");

    // The same file, other contents.
    export(3, &other);
    let third = run(&load(&other));
    let replaced = load(&path);
    assert!(run(&replaced).equal(&different));
    let written = fs::read(&other).unwrap();
    assert_eq!(written.len(), contents.len());
    OpenOptions::new().write(true).open(&path).unwrap().write_all(&written).unwrap();
    assert!(run(&load(&path)).equal(&third), "what was written to it");
    drop(replaced);
}
