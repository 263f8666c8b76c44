//! Weight files in every form, whole and hostile.

use bertscript::{Checkpoint, Error, ErrorKind, LoadOptions, PreTrained, Tensor, weights_sha256};
use bertscript_tests::{FORMATS, architecture, copy_of, fixture};
use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

fn load(directory: &Path) -> Result<PreTrained, Error> {
    PreTrained::from_checkpoint(&Checkpoint::open(directory)?, &LoadOptions::default())
}

#[test]
fn every_form_gives_the_same_bits() {
    let digests = FORMATS.map(|name| {
        let model = load(&fixture(name)).unwrap();
        assert_eq!(model.architecture(), architecture("BertForMaskedLM"));
        assert_eq!(model.report().ties.untied.len(), 2, "{name}");
        assert!(model.report().unexpected.is_empty(), "{name}");
        let parameters = model.parameters().iter();
        let parameters = parameters
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone().try_into().unwrap()));
        weights_sha256(&parameters.collect::<Vec<_>>()).unwrap()
    });
    for (name, digest) in FORMATS.iter().zip(&digests) {
        assert_eq!(*digest, digests[0], "{name}");
    }
}

#[test]
fn one_storage_under_two_names_is_separated_even_where_nothing_is_tied() {
    let directory = copy_of("format-zip");
    let config = directory.path().join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let untied = text.replace("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
    assert_ne!(text, untied);
    std::fs::write(&config, untied).unwrap();
    let model = load(directory.path()).unwrap();
    assert!(model.report().ties.untied.is_empty());
}

#[test]
fn every_truncation_is_an_error() {
    for name in ["format-zip", "format-legacy", "format-safetensors"] {
        let directory = copy_of(name);
        let file =
            if name == "format-safetensors" { "model.safetensors" } else { "pytorch_model.bin" };
        let path = directory.path().join(file);
        let whole = std::fs::read(&path).unwrap();
        for length in (0..whole.len()).step_by(1024) {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = load(directory.path()).err();
            let error = error.unwrap_or_else(|| panic!("{name} cut at {length} was taken"));
            assert!(error.to_string().contains(file), "{name} at {length}: {error}");
        }
    }
}

#[test]
fn changed_bytes_never_crash() {
    // Whatever a changed byte means, reading ends with a model or an error.
    for name in ["format-zip", "format-legacy"] {
        let directory = copy_of(name);
        let path = directory.path().join("pytorch_model.bin");
        let whole = std::fs::read(&path).unwrap();
        let mut state = 1u64;
        for _ in 0..1500 {
            let mut bytes = whole.clone();
            for _ in 0..4 {
                // xorshift: places among the pickles, which stand in front.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = (state % 6000.min(bytes.len() as u64)) as usize;
                bytes[at] = (state >> 32) as u8;
            }
            std::fs::write(&path, bytes).unwrap();
            let _ = Checkpoint::open(directory.path()).unwrap().state_dict();
        }
    }
}

/// Writes a legacy file with this object and these storages.
fn legacy(object: &[u8], keys: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.".to_vec();
    bytes.extend(b"\x80\x02M\xe9\x03.\x80\x02}.");
    bytes.extend(object);
    bytes.extend(keys);
    bytes.extend(data);
    bytes
}

/// A pickled dict of one float tensor of this size, stride and offset on a
/// storage of four elements.
fn tensor(size: &str, stride: &str, offset: i32) -> Vec<u8> {
    let mut bytes = b"\x80\x02}X\x01\0\0\0tctorch._utils\n_rebuild_tensor_v2\n(".to_vec();
    bytes.extend(b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0kX\x03\0\0\0cpuK\x04NtQ");
    bytes.push(b'J');
    bytes.extend(offset.to_le_bytes());
    for text in [size, stride] {
        bytes.push(b'(');
        for value in text.split_whitespace() {
            bytes.extend(b"\x8a\x08");
            bytes.extend(value.parse::<i64>().unwrap().to_le_bytes());
        }
        bytes.push(b't');
    }
    bytes.extend(b"\x89NtRs.");
    bytes
}

const KEYS: &[u8] = b"\x80\x02]X\x01\0\0\0ka.";
const DATA: &[u8] = b"\x04\0\0\0\0\0\0\0\0\0\x80?\0\0\0@\0\0@@\0\0\x80@";

fn read(bytes: &[u8]) -> Result<Vec<(String, Vec<f32>)>, Error> {
    let directory = copy_of("model");
    std::fs::remove_file(directory.path().join("model.safetensors")).unwrap();
    std::fs::write(directory.path().join("pytorch_model.bin"), bytes).unwrap();
    let state = Checkpoint::open(directory.path()).unwrap().state_dict()?;
    let values = |tensor: &Tensor| tensor.as_slice::<f32>().unwrap().to_vec();
    Ok(state.tensors().map(|(name, tensor)| (name.to_owned(), values(tensor))).collect())
}

#[test]
fn strides_and_offsets_are_honoured_within_the_storage() {
    for (size, stride, offset, expected) in [
        ("4", "1", 0, vec![1., 2., 3., 4.]),
        ("2 2", "1 2", 0, vec![1., 3., 2., 4.]),
        ("2", "1", 2, vec![3., 4.]),
        ("3", "0", 1, vec![2., 2., 2.]),
        ("2", "3", 0, vec![1., 4.]),
        ("0", "1", 0, vec![]),
        ("", "", 3, vec![4.]),
    ] {
        let found = read(&legacy(&tensor(size, stride, offset), KEYS, DATA)).unwrap();
        assert_eq!(found, [("t".to_owned(), expected)], "{size:?} {stride:?} {offset}");
    }
    let huge = (1i64 << 60).to_string();
    for (size, stride, offset) in [
        ("5", "1", 0),
        ("4", "1", 1),
        ("2", "4", 0),
        ("1", "1", -1),
        ("-1", "1", 0),
        ("2", "-1", 1),
        ("2 2", "1", 0),
        (&huge, "1", 0),
        (&format!("{huge} {huge}"), "1 1", 0),
        ("2", &i64::MAX.to_string(), 1),
    ] {
        let error = read(&legacy(&tensor(size, stride, offset), KEYS, DATA)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Checkpoint, "{size:?} {stride:?} {offset}: {error}");
    }
}

/// The fixture's zip with another pickle, or another way to store it.
fn repacked(change: impl Fn(Vec<u8>) -> Vec<u8>, method: CompressionMethod) -> Vec<u8> {
    let file = fs::File::open(fixture("format-zip").join("pytorch_model.bin")).unwrap();
    let mut whole = ZipArchive::new(file).unwrap();
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..whole.len() {
        let mut entry = whole.by_index(index).unwrap();
        let name = entry.name().unwrap().into_owned();
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents).unwrap();
        let is_pickle = name.ends_with("/data.pkl");
        let method = if is_pickle { method } else { CompressionMethod::Stored };
        let contents = if is_pickle { change(contents) } else { contents };
        zip.start_file(&*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(&contents).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn a_pickle_in_a_zip_is_stored_whole_and_as_its_checksum_says() {
    let stored = repacked(|pickle| pickle, CompressionMethod::Stored);
    assert!(!read(&stored).unwrap().is_empty());
    // What it unpacks to could exhaust the memory, whatever the size of the file.
    let error = read(&repacked(|pickle| pickle, CompressionMethod::Deflated)).unwrap_err();
    assert!(error.to_string().contains("the record data.pkl is compressed"), "{error}");
    let mut damaged = stored;
    let at = damaged.windows(10).position(|bytes| bytes == b"token_type").unwrap();
    damaged[at] = b'T';
    let error = read(&damaged).unwrap_err();
    assert!(error.to_string().contains("the record data.pkl is damaged"), "{error}");
}

#[test]
fn tensors_that_are_copied_are_no_larger_than_their_file() {
    // Four bytes, repeated as often as a stride of zero allows.
    for size in [1i64 << 12, 1 << 40] {
        let bytes = legacy(&tensor(&size.to_string(), "0", 0), KEYS, DATA);
        let error = read(&bytes).unwrap_err();
        let found = format!("size [{size}]");
        let expected = format!("larger than the file of {} bytes", bytes.len());
        assert_eq!(error.kind(), ErrorKind::Checkpoint);
        assert!(error.to_string().contains(&found), "{error}");
        assert!(error.to_string().contains(&expected), "{error}");
    }
}

#[test]
fn a_storage_beyond_the_file_is_an_error_of_the_file() {
    let mut data = DATA.to_vec();
    data[..8].copy_from_slice(&(1i64 << 40).to_le_bytes());
    let error = read(&legacy(&tensor("4", "1", 0), KEYS, &data)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Checkpoint, "{error}");
    assert!(error.to_string().contains("truncated: storage k has 4398046511104 bytes"), "{error}");
}

#[test]
fn code_in_a_pickle_is_named_and_never_run() {
    let witness = std::env::temp_dir().join(format!("bertscript-{}", std::process::id()));
    let command = format!("touch {}", witness.display());
    let mut object = b"\x80\x02cos\nsystem\nX".to_vec();
    object.extend((command.len() as u32).to_le_bytes());
    object.extend(command.as_bytes());
    object.extend(b"\x85R.");
    let error = read(&legacy(&object, KEYS, DATA)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("os.system"), "{error}");
    assert!(error.to_string().contains("pytorch_model.bin"), "{error}");
    assert!(!witness.exists());
}

#[test]
fn other_files_are_told_apart() {
    for (bytes, words) in [
        (&b""[..], "not a file of torch.save"),
        (b"hello", "not a file of torch.save"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"PK\x03\x04 and nothing more", "truncated or damaged zip"),
        (b"\x80\x02K\x01.", "magic number"),
    ] {
        let error = read(bytes).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let mut tar = vec![0; 600];
    tar[257..262].copy_from_slice(b"ustar");
    assert!(read(&tar).unwrap_err().to_string().contains("tar form"));
}

#[test]
fn an_index_names_what_is_not_there() {
    let directory = copy_of("format-safetensors-sharded");
    let shard = directory.path().join("model-2-of-3.safetensors");
    std::fs::copy(directory.path().join("model-1-of-3.safetensors"), &shard).unwrap();
    let error = load(directory.path()).err().unwrap();
    assert!(error.to_string().contains("model-2-of-3.safetensors: the index says"), "{error}");
    std::fs::remove_file(&shard).unwrap();
    let error = load(directory.path()).err().unwrap();
    assert!(error.to_string().contains("model-2-of-3.safetensors"), "{error}");

    let index = directory.path().join("model.safetensors.index.json");
    let text = std::fs::read_to_string(&index).unwrap().replace("model-2", "../model-2");
    std::fs::write(&index, text).unwrap();
    let error = load(directory.path()).err().unwrap();
    assert!(error.to_string().contains("index.json"), "{error}");
    assert!(error.to_string().contains("expected the name of a file"), "{error}");
}
