//! Writes archives of all fixtures, and what they compute by a build with libtorch, into a folder:
//! what `bertscript-runtime` is compared with.

// `results` finds it at the root of its crate, under this name.
extern crate bertscript;

#[path = "../../../crates/bertscript-runtime/tests/results/mod.rs"]
mod results;

use bertscript::{EngineKind, Module};
use results::{checkpoints, file_of, results};
use std::fs;
use std::path::PathBuf;

fn main() {
    let folder = PathBuf::from(std::env::args_os().nth(1).expect("the folder to write to"));
    let mut engines = Vec::new();
    for checkpoint in checkpoints(&bertscript_tests::fixture("")) {
        let file = file_of(&folder, &checkpoint);
        bertscript::export(&checkpoint, &file).unwrap();
        let module = Module::open(&file).unwrap();
        engines.push(module.engine());
        fs::write(file.with_extension("txt"), results(&module).unwrap()).unwrap();
        let script = module.with_engine(Some(EngineKind::TorchScript)).unwrap();
        fs::write(file.with_extension("script.txt"), results(&script).unwrap()).unwrap();
    }
    let native = engines.iter().filter(|engine| **engine == EngineKind::Native);
    // That of float16 is not.
    assert_eq!(native.count(), engines.len() - 1);
    let mut script = torchscript::ScriptModule::new("Other").unwrap();
    script.define("def forward(self, x: Tensor):\n    return x").unwrap();
    let other = fs::File::create(folder.join("other.pt")).unwrap();
    script.save(other, &[]).unwrap();
}
