//! What the library computes without libtorch is bitwise what it computes with it.

mod results;
mod written;

use bertscript::{Device, Devices, Dtype, EngineKind, ErrorKind, Module, Result};
use bertscript_runtime as bertscript;
use results::{file_of, results};
use std::fs;
use std::path::Path;
use std::sync::Once;

/// Where the archives are. There is no plug-in, wherever this runs.
fn folder() -> &'static Path {
    static ONCE: Once = Once::new();
    let folder = written::folder("without_torch");
    ONCE.call_once(|| {
        // SAFETY: the other threads of the process wait here, or have not begun.
        unsafe { std::env::set_var("BERTSCRIPT_TORCH", folder.join("none.so")) };
    });
    folder
}

#[test]
fn results_are_those_with_libtorch() {
    let mut compared = 0;
    for checkpoint in written::checkpoints() {
        let file = file_of(folder(), &checkpoint);
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
