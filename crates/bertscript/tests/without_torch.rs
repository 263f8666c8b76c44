//! What the library computes without libtorch is bitwise what it computes with it.
//!
//! With libtorch, this writes archives and results into the folder that
//! `BERTSCRIPT_RESULTS` names; without, it reads the archives and compares. `cargo xtask test`
//! runs both.

use bertscript::{
    ClassifyOptions, EmbedOptions, EngineKind, EntitiesOptions, FillMaskOptions, Inputs, Module,
    Result, Tensor, weights_sha256,
};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Checkpoints whose `config.json` names a class, in the order of their names.
fn checkpoints() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    let folders = [root.join("text"), root];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.join("config.json").exists() && !path.ends_with("model-eps"));
    found.sort();
    found
}

fn file_of(folder: &Path, checkpoint: &Path) -> PathBuf {
    let parts = checkpoint.iter().skip_while(|part| *part != "fixtures").skip(1);
    let name = parts.map(|part| part.to_str().unwrap()).collect::<Vec<_>>().join("-");
    folder.join(name).with_extension("pt")
}

/// All outputs of a module for rows of two lengths, and what its task makes of texts.
fn results(module: &Module) -> Result<String> {
    let has_choices = module.metadata().unwrap().inputs[0].shape.len() == 3;
    let inputs = match has_choices {
        true => Inputs::new(Tensor::new(vec![2_i64, 9, 3, 4, 7, 3], [1, 2, 3])?),
        false => Inputs::from_rows(&[vec![2, 9, 7, 4, 11, 3], vec![2, 5, 3]], 0)?,
    };
    let mut found = format!("{}\n", module.engine());
    for named in module.run(&inputs)?.into_tensors() {
        let (name, shape) = (named.0.clone(), named.1.shape().to_vec());
        writeln!(found, "{name} {shape:?} {}", weights_sha256(&[named])?).unwrap();
    }
    if module.tokenizer().is_ok() && !has_choices {
        let texts = ["She went to the big [MASK].", "the cat sat", ""];
        let embedded = module.embed(texts, &EmbedOptions::default());
        let embedded = embedded.map(|found| found.row(1).to_vec());
        writeln!(found, "{embedded:?}").unwrap();
        writeln!(found, "{:?}", module.classify(texts, &ClassifyOptions::default())).unwrap();
        writeln!(found, "{:?}", module.entities(texts, &EntitiesOptions::default())).unwrap();
        let filled = module.fill_mask([texts[0]], &FillMaskOptions::default());
        writeln!(found, "{filled:?}").unwrap();
    }
    Ok(found)
}

#[cfg(feature = "torch")]
#[test]
fn results_are_written() {
    let scratch = tempfile::tempdir().unwrap();
    let folder =
        std::env::var_os("BERTSCRIPT_RESULTS").map_or(scratch.path().to_owned(), PathBuf::from);
    let mut engines = Vec::new();
    for checkpoint in checkpoints() {
        let file = file_of(&folder, &checkpoint);
        bertscript::export(&checkpoint, &file).unwrap();
        let module = Module::open(&file).unwrap();
        engines.push(module.engine());
        fs::write(file.with_extension("txt"), results(&module).unwrap()).unwrap();
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
    use bertscript::{Device, Devices, Dtype, ErrorKind};

    fn folder() -> PathBuf {
        std::env::var_os("BERTSCRIPT_RESULTS").expect("`cargo xtask test` runs this").into()
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
            message
        };
        let message = refused(module.with_engine(Some(EngineKind::TorchScript)));
        assert!(message.contains("the engine torchscript"), "{message}");
        let message = refused(Module::load(&file, Device::Cuda(0), None));
        assert!(message.contains("cuda:0"), "{message}");
        let message = refused(Module::open(folder().join("other.pt")));
        assert!(message.contains("other.pt: an archive that bertscript did not export"));
        assert!(Devices::find().unwrap().cuda_unavailable.unwrap().contains("without libtorch"));
        // The module is as it was.
        assert!(results(&module).is_ok());
    }
}
