//! What the library computes without libtorch is bitwise what it computes with it.
//!
//! With libtorch, this writes archives and results into the folder that
//! `BERTSCRIPT_RESULTS` names; without, it reads the archives and compares. `cargo xtask test`
//! runs both.

mod results;

use bertscript::{EngineKind, Module};
use results::{checkpoints, file_of, folder, results};
use std::fs;

#[cfg(feature = "torch")]
#[test]
fn results_are_written() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = folder().unwrap_or(scratch.path().to_owned());
    let mut engines = Vec::new();
    for checkpoint in checkpoints() {
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

#[cfg(not(feature = "torch"))]
mod without {
    use super::*;
    use bertscript::{Device, Devices, Dtype, ErrorKind, Result};
    use std::path::PathBuf;

    fn folder() -> PathBuf {
        super::folder().expect("`cargo xtask test` runs this")
    }

    #[test]
    fn results_are_those_with_libtorch() {
        let mut compared = 0;
        for checkpoint in checkpoints() {
            let file = file_of(&folder(), &checkpoint);
            if checkpoint.ends_with("model-f16") {
                let error = Module::open(&file).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TorchUnavailable, "{error}");
                let cast = Module::load(&file, Device::Cpu, Some(Dtype::F32)).unwrap();
                assert!(results(&cast).is_ok());
                continue;
            }
            let expected = fs::read_to_string(file.with_extension("txt")).unwrap();
            let module = Module::open(&file).unwrap();
            assert_eq!(results(&module).unwrap(), expected, "{}", checkpoint.display());
            compared += 1;
        }
        assert!(compared > 40, "{compared}");
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        for library in ["/libtorch", "/libc10", "/libgomp", "/libstdc++"] {
            assert!(!maps.contains(library), "{library} is mapped");
        }
    }

    #[test]
    fn what_requires_libtorch_is_refused_by_name() {
        let file = folder().join("text-sentence.pt");
        let module = Module::open(&file).unwrap();
        let refused = |found: Result<Module>| {
            let error = found.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TorchUnavailable, "{error}");
            let message = error.to_string();
            assert!(message.contains("requires libtorch"), "{message}");
            assert!(message.contains("BERTSCRIPT_TORCH"), "{message}");
            message
        };
        let message = refused(module.with_engine(Some(EngineKind::TorchScript)));
        assert!(message.contains("the engine torchscript"), "{message}");
        let message = refused(Module::load(&file, Device::Cuda(0), None));
        assert!(message.contains("cuda:0"), "{message}");
        let message = refused(Module::open(folder().join("other.pt")));
        assert!(message.contains("other.pt: an archive that bertscript did not export"));
        assert!(Devices::find().unwrap().cuda_unavailable.unwrap().contains("requires libtorch"));
        // The module is as it was.
        assert!(results(&module).is_ok());
    }

    #[test]
    fn a_module_is_saved_as_the_file_that_was_loaded() {
        let scratch = tempfile::tempdir().unwrap();
        let [loaded, saved] = ["loaded.pt", "saved.pt"].map(|name| scratch.path().join(name));
        fs::copy(folder().join("text-sentence.pt"), &loaded).unwrap();
        let module = Module::open(&loaded).unwrap();
        module.save(&saved).unwrap();
        assert_eq!(fs::read(&saved).unwrap(), fs::read(&loaded).unwrap());
        fs::remove_file(&saved).unwrap();
        // Longer than it was.
        let mut file = fs::OpenOptions::new().append(true).open(&loaded).unwrap();
        std::io::Write::write_all(&mut file, b"more").unwrap();
        let error = module.save(&saved).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.to_string().contains("has changed"), "{error}");
        assert!(!saved.exists());
    }
}
