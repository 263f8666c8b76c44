//! Archives are data: the engines without TorchScript run nothing of them.

use bertscript::{Device, EmbedOptions, EngineKind, ErrorKind, Inputs, Module, Precision, Tensor};
use bertscript_tests::{bertscript, bertscript_ok, fixture, scratch};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

const TEXTS: [&str; 3] = ["the cat sat", "who was it?", "a dog and a cat"];

/// An archive of a fixture, and a copy of it whose code is not even text.
fn archives(name: &str, folder: &Path) -> [PathBuf; 2] {
    let [good, other] = ["good.pt", "other.pt"].map(|name| folder.join(name));
    let (directory, output) = (fixture(name), good.to_str().unwrap());
    bertscript_ok(&["export", directory.to_str().unwrap(), "-o", output]);
    let mut archive = ZipArchive::new(File::open(&good).unwrap()).unwrap();
    let mut copy = ZipWriter::new(File::create(&other).unwrap());
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .with_alignment(64);
    let mut replaced = 0;
    for index in 0..archive.len() {
        let mut record = archive.by_index(index).unwrap();
        let name = record.name().unwrap().into_owned();
        let mut contents = Vec::new();
        record.read_to_end(&mut contents).unwrap();
        if name.ends_with(".py") {
            contents = (0..=255).collect();
            replaced += 1;
        }
        copy.start_file(name, options).unwrap();
        copy.write_all(&contents).unwrap();
    }
    copy.finish().unwrap();
    assert!(replaced > 0);
    [good, other]
}

#[test]
fn nothing_of_an_archive_is_run() {
    let folder = scratch();
    let [good, other] = archives("text/sentence", folder.path());
    let embed = |module: &Module| {
        module.embed(TEXTS, &EmbedOptions::default()).unwrap().as_slice().to_vec()
    };
    let loaded = |path: &Path| Module::load(path, Device::Cpu, None).unwrap();
    let in_memory = Module::from_bytes(&std::fs::read(&other).unwrap(), Device::Cpu, None).unwrap();
    let expected = embed(&loaded(&good));
    for module in [loaded(&other), in_memory] {
        assert_eq!(module.engine(), EngineKind::Native);
        assert_eq!(embed(&module), expected);
        let ids = Tensor::new([2_i64, 5, 3], [1, 3]).unwrap();
        assert!(module.run(&Inputs::new(ids)).is_ok());
        assert!(!module.parameters().unwrap().is_empty());
        for precision in [Precision::Bf16, Precision::F16, Precision::Int8] {
            let other = module.with_precision(precision).unwrap();
            assert_eq!(embed(&other).len(), expected.len(), "{precision}");
        }
        // The code is compiled when it is first wanted, and then it shows itself.
        let by_code = module.with_engine(Some(EngineKind::TorchScript)).unwrap();
        let error = by_code.embed(TEXTS, &EmbedOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Torch, "{error}");
        assert_eq!(embed(&module), expected);
    }
    let other = other.to_str().unwrap();
    assert!(bertscript_ok(&["inspect", other]).contains("BertModel"));
    let texts = folder.path().join("texts.txt");
    std::fs::write(&texts, TEXTS.join("\n")).unwrap();
    let texts = texts.to_str().unwrap();
    let embed = |file: &str| bertscript_ok(&["embed", file, "--input", texts]);
    assert_eq!(embed(other), embed(good.to_str().unwrap()));
    let refused = bertscript(&["embed", other, "--engine", "torchscript", "--input", texts]);
    assert!(!refused.status.success());
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(message.contains("the code of the archive does not load"), "{message}");
}

#[test]
fn tasks_of_every_head_run_nothing_of_it() {
    for name in ["text/entities", "text/classify-single", "text/masked", "text/next-sentence"] {
        let folder = scratch();
        let [good, other] = archives(name, folder.path());
        let predict = |file: &Path| {
            let file = file.to_str().unwrap();
            match name {
                "text/next-sentence" => {
                    bertscript_ok(&["predict", file, "--text-pair", "a dog", "the cat"])
                }
                _ => bertscript_ok(&["predict", file, "the [MASK] sat"]),
            }
        };
        assert_eq!(predict(&good), predict(&other), "{name}");
    }
}
