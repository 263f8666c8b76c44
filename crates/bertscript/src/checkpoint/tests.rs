//! What reads a directory, as far as it asks no libtorch, over the inputs that
//! fuzzing keeps. `cargo xtask miri` runs this file too, which cannot map a file.

use super::safetensors::read_header;
use super::sharded::Index;
use super::torch_file::{read_contents, state_dict};
use super::*;
use std::io::Cursor;

/// Reads every input of a format, which is read or refused with a reason; what was
/// read has the name of its file.
fn replay<T>(format: &str, read: impl Fn(&[u8]) -> Result<T>) -> Vec<(String, T)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(format);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match read(&std::fs::read(&path).unwrap()) {
            Ok(value) => found.push((file_name(&path), value)),
            Err(error) => {
                let kinds = [ErrorKind::Checkpoint, ErrorKind::Unsupported, ErrorKind::Config];
                assert!(kinds.contains(&error.kind()), "{}: {error:?}", path.display());
                assert_ne!(error.message(), "", "{}", path.display());
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// What was read of the input of that name.
fn named<'a, T>(found: &'a [(String, T)], name: &str) -> &'a T {
    let found = found.iter().find(|(known, _)| known == name);
    &found.unwrap_or_else(|| panic!("{name} was refused")).1
}

#[test]
fn pickles_are_read_or_refused() {
    let names = |data: &[u8]| {
        let pickle = pickle::Pickle::read(&mut &data[..])?;
        Ok(state_dict(&pickle)?.into_keys().map(str::to_owned).collect::<Vec<_>>())
    };
    let expected = ["a", "b", "c", "d", "e", "f"];
    assert_eq!(*named(&replay("pickle", names), "tensors"), expected);
}

#[test]
fn files_of_torch_are_read_or_refused() {
    for format in ["torch_zip", "torch_legacy"] {
        let found = replay(format, |data| {
            let (pickle, places) = read_contents(&mut Cursor::new(data))?;
            Ok((state_dict(&pickle)?.len(), places.len()))
        });
        for name in ["tensors", "wrapped"] {
            let (tensors, storages) = *named(&found, name);
            assert!(tensors > 0 && storages > 0, "{format}: {name} has {tensors} tensors");
        }
    }
}

#[test]
fn headers_of_safetensors_are_read_or_refused() {
    let found = replay("safetensors", |data| {
        let (metadata, start) = read_header(Path::new(""), &mut &data[..], data.len() as u64)?;
        assert_eq!(start + metadata.data_len(), data.len());
        Ok(metadata.tensors().len())
    });
    assert!(*named(&found, "dtypes") > 1);
}

#[test]
fn lists_of_files_and_modules_are_read_or_refused() {
    let indices = replay("shard_index", Index::from_json);
    assert_eq!(named(&indices, "two").files(Path::new("")), [Path::new("shard")]);
    // The first of the files that an input of this format is made of.
    let modules = replay("modules", |data| {
        read_modules(data.split(|byte| *byte == b'\x0c').next().unwrap_or_default())
    });
    assert_eq!(named(&modules, "wide").len(), 4);
}

#[test]
fn a_sentencepiece_model_alone_has_no_class() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/sentencepiece");
    let contents = std::fs::read(corpus.join("controls")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for name in ["spm.model", "spiece.model", "sentencepiece.bpe.model"] {
        let path = folder.path().join(name);
        std::fs::write(&path, &contents).unwrap();
        let error = tokenizer_assets(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let error = error.to_string();
        let words = [name, "found a SentencePiece model", "expected the checkpoint directory"];
        assert!(words.iter().all(|words| error.contains(words)), "{error}");
    }
    let path = folder.path().join("other.txt");
    std::fs::write(&path, "[UNK]\n").unwrap();
    assert_eq!(tokenizer_assets(&path).unwrap().get("vocab.txt"), Some(&b"[UNK]\n"[..]));
}
