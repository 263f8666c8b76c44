//! What requires libtorch, in a build without it, by `libbertscript_torch.so`: bitwise what a
//! build with libtorch computes.
//!
//! It is found beside these tests, which depend on it.

#[path = "../../crates/bertscript-runtime/tests/results/mod.rs"]
mod results;
#[path = "../../crates/bertscript-runtime/tests/written/mod.rs"]
mod written;

use bertscript::{
    Checkpoint, Device, Devices, Dtype, EngineKind, ErrorKind, Inputs, LoadOptions, Module,
    PreTrained, Precision, Shapes, Tensor, TieWeights,
};
use bertscript_runtime as bertscript;
use results::{file_of, results};
use std::fs;
use std::path::PathBuf;

/// Where an archive is that a build with libtorch wrote.
fn archive(name: &str) -> PathBuf {
    written::folder("with_plugin").join(name)
}

#[test]
fn every_engine_computes_what_it_does_with_libtorch() {
    let mut kinds = Vec::new();
    for checkpoint in written::checkpoints() {
        let file = file_of(&archive(""), &checkpoint);
        let module = Module::open(&file).unwrap();
        kinds.push(module.engine());
        let expected = fs::read_to_string(file.with_extension("txt")).unwrap();
        assert_eq!(results(&module).unwrap(), expected, "{}", checkpoint.display());
        let script = module.with_engine(Some(EngineKind::TorchScript)).unwrap();
        let expected = fs::read_to_string(file.with_extension("script.txt")).unwrap();
        assert_eq!(results(&script).unwrap(), expected, "{}", checkpoint.display());
        assert!(expected.starts_with("torchscript\n"));
    }
    assert!(kinds.contains(&EngineKind::Varlen) && kinds.len() > 40, "{kinds:?}");
}

#[test]
fn modules_change_engines_dtypes_and_devices() {
    let file = archive("text-sentence.pt");
    let native = Module::open(&file).unwrap();
    let in_memory = Module::from_bytes(&fs::read(&file).unwrap(), Device::Cpu, None).unwrap();
    let ids = || Inputs::from_rows(&[vec![2, 9, 7, 4, 11, 3], vec![2, 5, 3]], 0).unwrap();
    let run = |module: &Module| module.run(&ids()).unwrap().into_tensors();
    let expected = run(&native);
    let script = in_memory.with_engine(Some(EngineKind::TorchScript)).unwrap();
    for (found, expected) in run(&script).iter().zip(&expected) {
        assert_eq!((&found.0, found.1.shape()), (&expected.0, expected.1.shape()));
    }
    let half = script.with_precision(Precision::F16).unwrap();
    assert_eq!((half.engine(), half.dtype()), (EngineKind::TorchScript, Dtype::F16));
    assert_eq!(run(&half)[0].1.element_type(), bertscript::ElementType::F16);
    let varlen = native.with_precision(Precision::F16).unwrap();
    assert_eq!(varlen.engine(), EngineKind::Varlen);
    assert_eq!(run(&varlen).len(), expected.len());
    let error = Module::load(&file, Device::Cuda(99), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device, "{error}");
    let devices = Devices::find().unwrap();
    assert_eq!(devices.cuda.is_empty(), devices.cuda_unavailable.is_some());
}

#[test]
fn checkpoints_become_archives() {
    let scratch = tempfile::tempdir().unwrap();
    let fixture =
        |name: &str| written::checkpoints().into_iter().find(|path| path.ends_with(name)).unwrap();
    let file = scratch.path().join("exported.pt");
    bertscript::export(fixture("text/sentence"), &file).unwrap();
    assert_eq!(fs::read(&file).unwrap(), fs::read(archive("text-sentence.pt")).unwrap());

    // The layout of older models: what is beside the folder of the weights goes along, and is no
    // output.
    let (old, inner) = (scratch.path().join("old"), "0_Transformer");
    fs::create_dir_all(old.join(inner)).unwrap();
    for entry in fs::read_dir(fixture("text/sentence")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if path.is_dir() {
            let to = old.join(name);
            fs::create_dir_all(&to).unwrap();
            for file in fs::read_dir(&path).unwrap() {
                let file = file.unwrap();
                fs::copy(file.path(), to.join(file.file_name())).unwrap();
            }
        } else if name == "modules.json" {
            let modules = fs::read_to_string(&path).unwrap();
            let first = modules.replacen("\"path\": \"\"", &format!("\"path\": \"{inner}\""), 1);
            assert_ne!(first, modules);
            fs::write(old.join(name), first).unwrap();
        } else {
            fs::copy(&path, old.join(inner).join(name)).unwrap();
        }
    }
    let archive_of_old = bertscript::export(&old, &file).unwrap();
    assert!(archive_of_old.assets().get("modules.json").is_some());
    let modules = old.join("modules.json");
    let model = Checkpoint::open(&old).unwrap();
    let model = PreTrained::from_checkpoint(&model, &LoadOptions::default()).unwrap();
    let error = model.export(&Shapes::Any, modules).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");

    // Traced to a module, which saves what an export writes.
    let checkpoint = Checkpoint::open(fixture("masked-lm")).unwrap();
    let options = LoadOptions { ties: TieWeights::Keep, ..LoadOptions::default() };
    let model = PreTrained::from_checkpoint(&checkpoint, &options).unwrap();
    assert_eq!(model.report().ties.tied.len(), 2, "{:?}", model.report());
    assert_eq!(model.architecture().to_string(), "BertForMaskedLM");
    assert!(model.parameter_count() > 1000);
    let module = model.to_module(&Shapes::Any).unwrap();
    model.export(&Shapes::Any, &file).unwrap();
    drop(model);
    let [saved, again] = ["saved.pt", "again.pt"].map(|name| scratch.path().join(name));
    module.save(&saved).unwrap();
    assert_eq!(fs::read(&saved).unwrap(), fs::read(&file).unwrap());
    assert_eq!(results(&module).unwrap(), results(&Module::open(&saved).unwrap()).unwrap());
    Module::open(&saved).unwrap().save(&again).unwrap();
    assert_eq!(fs::read(&saved).unwrap(), fs::read(&again).unwrap());

    let lacking =
        LoadOptions { architecture: Some("BertForPreTraining".parse().unwrap()), ..options };
    let error = PreTrained::from_checkpoint(&checkpoint, &lacking).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MissingParameter, "{error}");
    let config = fixture("masked-lm").join("config.json");
    let model = PreTrained::from_checkpoint(&checkpoint, &LoadOptions::default()).unwrap();
    let error = model.export(&Shapes::Any, config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

#[test]
fn programs_of_others_run() {
    let other = Module::open(archive("other.pt")).unwrap();
    assert_eq!(other.engine(), EngineKind::TorchScript);
    assert_eq!(other.schema().arguments[0].name, "x");
    assert!(other.metadata().is_none() && other.parameters().unwrap().is_empty());
    let x = Tensor::new(vec![1.5_f32, -2., 3.], [3]).unwrap();
    let found = other.run_named(vec![("x".to_owned(), x.clone())]).unwrap().into_tensors();
    assert_eq!(found[0].0, "output");
    assert_eq!(found[0].1.as_slice::<f32>().unwrap(), [1.5, -2., 3.]);
    let error = other.run_named(vec![("y".to_owned(), x)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(error.to_string(), "y: unknown input, expected x");
    let bytes = fs::read(archive("other.pt")).unwrap();
    let other = Module::from_bytes(&bytes, Device::Cpu, Some(Dtype::F16)).unwrap();
    let other = other.to(None, Some(Dtype::F32)).unwrap();
    assert_eq!(other.dtype(), Dtype::F32);
}

#[test]
fn modules_are_used_and_ended_by_many_threads() {
    let module = Module::open(archive("text-sentence.pt")).unwrap();
    let script = module.with_engine(Some(EngineKind::TorchScript)).unwrap();
    let run = |module: &Module| {
        let inputs = Inputs::from_rows(&[vec![2, 9, 7, 3]], 0).unwrap();
        bertscript::weights_sha256(&module.run(&inputs).unwrap().into_tensors()).unwrap()
    };
    let expected = run(&script);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let own = module.with_engine(Some(EngineKind::TorchScript)).unwrap();
                    assert_eq!(run(&own), expected);
                    assert_eq!(run(&script), expected);
                }
            });
        }
    });
    bertscript::set_thread_count(1);
    bertscript::shutdown_threads().unwrap();
    assert!(run(&script).len() == 64);
}
