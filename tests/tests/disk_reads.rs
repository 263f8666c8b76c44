//! Files that vanish, cannot be read or shrink between two calls of the system, at
//! every call that reads; and a disk that is full while modules are saved.

use bertscript::{
    Checkpoint, Device, EncodeOptions, Error, ErrorKind, Inputs, LoadOptions, Module, PreTrained,
    Result, Shapes, Tensor, Tokenizer,
};
use bertscript_tests::disk::{Disk, Fault, Faults};
use bertscript_tests::{fixture, scratch};
use std::path::Path;

/// What is done with files, as bytes that are the same each time.
type Work<'a> = &'a dyn Fn() -> Result<Vec<u8>>;

/// An error with its causes.
fn text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

fn bytes(tensors: &[(String, Tensor)]) -> Vec<u8> {
    let mut all = Vec::new();
    for (name, tensor) in tensors {
        all.extend(name.bytes().chain(tensor.as_bytes().unwrap().iter().copied()));
    }
    all
}

/// What a file of three ids gives, on one thread.
fn run(file: &Path) -> Result<Vec<u8>> {
    let module = Module::load(file, Device::Cpu, None)?;
    Ok(bytes(&module.run(&Inputs::from_rows(&[[2, 9, 3]], 0)?)?.into_tensors()))
}

fn load(directory: &Path) -> Result<Vec<u8>> {
    let checkpoint = Checkpoint::open(directory)?;
    let model = PreTrained::from_checkpoint(&checkpoint, &LoadOptions::default())?;
    let parameters = model.parameters().iter();
    let parameters = parameters
        .map(|(name, tensor)| Ok((name.clone(), Tensor::try_from(tensor.shallow_clone())?)));
    Ok(bytes(&parameters.collect::<Result<Vec<_>>>()?))
}

fn assets(directory: &Path) -> Result<Vec<u8>> {
    let assets = Checkpoint::open(directory)?.assets()?;
    Ok(assets.iter().flat_map(|(name, contents)| [name.as_bytes(), contents].concat()).collect())
}

fn tokenize(directory: &Path) -> Result<Vec<u8>> {
    let tokenizer = Tokenizer::open(directory)?;
    let encoding = tokenizer.encode("the cat sat", &EncodeOptions::default())?;
    Ok(format!("{encoding:?}").into_bytes())
}

/// Every call of the system that `work` makes on the files of a folder goes wrong in
/// turn: what comes of it is an error that names a file there, or what came of it
/// before; and the next time all is well.
fn at_every_read(faults: &Faults, folder: &Path, what: &str, work: Work<'_>) {
    let expected = work().unwrap();
    let shown = folder.to_str().unwrap();
    for kind in ["ENOENT", "EACCES", "EIO", "empty"] {
        let (mut failures, mut last) = (0, 0);
        for at in 1.. {
            let (found, happened) =
                faults.during(&Fault { folder, calls: "reads", at, kind }, work);
            let what = format!("{what}: {kind} at call {at}");
            match found {
                // What is not there is left out, if it may be.
                Ok(found) => assert!(found == expected || kind == "ENOENT", "{what}"),
                Err(error) => {
                    let text = text(&error);
                    assert!(happened && text.contains(shown), "{what}: {text}");
                    // A file that is not there, or holds nothing, may be told as just that.
                    if matches!(kind, "EACCES" | "EIO") {
                        assert_eq!(error.kind(), ErrorKind::Io, "{what}: {text}");
                    }
                    failures += 1;
                }
            }
            if at % 8 == 0 || !happened {
                assert!(work().unwrap() == expected, "{what}: the next time");
            }
            last = at - 1;
            if !happened {
                break;
            }
        }
        println!("{what}: {kind} at {last} calls, {failures} errors");
        assert!(failures > 1, "{what}: {kind} does nothing");
    }
}

/// The same for calls that write one file.
fn at_every_write(faults: &Faults, file: &Path, what: &str, work: &dyn Fn() -> Result<()>) {
    let folder = file.parent().unwrap();
    let names = || std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    work().unwrap();
    let expected = std::fs::read(file).unwrap();
    for kind in ["full", "EIO", "EACCES", "short", "interrupted"] {
        let (mut failures, mut last) = (0, 0);
        for at in 1.. {
            std::fs::write(file, "old").unwrap();
            let fault = Fault { folder, calls: "writes", at, kind };
            let (found, happened) = faults.during(&fault, work);
            let contents = std::fs::read(file).unwrap();
            let what = format!("{what}: {kind} at call {at}");
            match found {
                Ok(()) => assert!(contents == expected, "{what}"),
                Err(error) => {
                    let text = text(&error);
                    assert!(text.starts_with(file.to_str().unwrap()), "{what}: {text}");
                    assert!(happened && text.contains("os error"), "{what}: {text}");
                    assert_eq!(contents, b"old", "{what}");
                    failures += 1;
                }
            }
            assert_eq!(names().count(), 1, "{what}: {:?}", names().collect::<Vec<_>>());
            last = at - 1;
            if !happened {
                break;
            }
        }
        println!("{what}: {kind} at {last} calls, {failures} errors");
        let harmless = matches!(kind, "short" | "interrupted");
        assert_eq!(failures, if harmless { 0 } else { last }, "{what}: {kind}");
    }
}

#[test]
fn files_that_go_wrong_are_named_and_full_disks_leave_nothing() {
    // Sums are the same to the last bit; and threads that are there already are not caught.
    bertscript::set_thread_count(1);
    let (scratch, disk) = (scratch(), Disk::build());
    let (sentence, faults) = (fixture("text/sentence"), disk.load());

    let checkpoint = Checkpoint::open(&sentence).unwrap();
    let model = PreTrained::from_checkpoint(&checkpoint, &LoadOptions::default()).unwrap();
    let file = scratch.path().join("model.pt");
    model.export(&Shapes::Any, &file).unwrap();

    at_every_read(&faults, scratch.path(), "an archive", &|| run(&file));
    at_every_read(&faults, &sentence, "files beside weights", &|| assets(&sentence));
    at_every_read(&faults, &sentence, "a tokenizer", &|| tokenize(&sentence));
    let words = fixture("text/masked");
    at_every_read(&faults, &words, "a vocabulary", &|| tokenize(&words));
    for format in bertscript_tests::FORMATS {
        let directory = fixture(format);
        at_every_read(&faults, &directory, format, &|| load(&directory));
    }

    let folder = scratch.path().join("out");
    std::fs::create_dir(&folder).unwrap();
    let to = folder.join("model.pt");
    let module = Module::load(&file, Device::Cpu, None).unwrap();
    at_every_write(&faults, &to, "a module", &|| module.save(&to));
    at_every_write(&faults, &to, "an export", &|| model.export(&Shapes::Any, &to).map(drop));
}
