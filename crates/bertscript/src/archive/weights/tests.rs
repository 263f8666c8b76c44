use super::*;
use crate::archive::Archive;
use crate::archive::pickles::{object, pickle, tensor};
use std::collections::BTreeSet;
use std::io::{Cursor, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

#[cfg(feature = "torch")]
mod of_libtorch;

/// Where in the mapping the elements of a tensor are.
fn offset_of(mapped: &MappedFile, tensor: &Tensor) -> Option<usize> {
    let start = mapped.bytes().as_ptr() as usize;
    let offset = tensor.address()?.checked_sub(start);
    offset.filter(|offset| *offset < mapped.bytes().len())
}

#[test]
fn an_archive_of_python_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/archive/twice");
    let bytes = std::fs::read(path).unwrap();
    let weights = ArchiveWeights::from_bytes(&bytes).unwrap();
    let [("weight", record)] = weights.iter().collect::<Vec<_>>()[..] else {
        panic!("{weights:?}");
    };
    assert_eq!(
        (record.element_type(), record.size(), record.stride()),
        (ElementType::F32, &[2][..], &[1][..])
    );
    assert_eq!(bytes[record.offset()..][..8], [0, 0, 128, 63, 0, 0, 128, 63]);
    let archive = Archive::from_bytes(&bytes).unwrap().unwrap();
    weights.check_size(archive.metadata()).unwrap();
}

/// How records are written.
struct Zip {
    method: CompressionMethod,
    alignment: u16,
}

impl Default for Zip {
    fn default() -> Self {
        Self { method: CompressionMethod::Stored, alignment: 64 }
    }
}

/// An archive of an object that is pickled, and records.
fn archive(root: &[u8], records: &[(&str, &[u8])], zip: &Zip) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let (pickle, start) = (pickle(root), [(PICKLE, &b""[..])]);
    for (name, contents) in start.iter().chain(records) {
        let (contents, options) = match *name {
            PICKLE => (&pickle[..], stored),
            _ => (*contents, stored.compression_method(zip.method).with_alignment(zip.alignment)),
        };
        writer.start_file(format!("archive/{name}"), options).unwrap();
        writer.write_all(contents).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A module of one tensor on a storage of `numel` elements.
fn one(numel: i64, offset: i64, size: &[i64], stride: &[i64]) -> Vec<u8> {
    object("Root", &[("weight", &tensor("0", numel, offset, size, stride))])
}

fn refusal(bytes: &[u8]) -> (ErrorKind, String) {
    let error = ArchiveWeights::from_bytes(bytes).unwrap_err();
    (error.kind(), error.to_string())
}

/// Twelve elements, 0 to 11.
fn storage() -> Vec<u8> {
    (0..12_u8).flat_map(|value| f32::from(value).to_le_bytes()).collect()
}

/// Writes an archive, and reads its weights from the file.
fn read(bytes: &[u8]) -> (Arc<MappedFile>, ArchiveWeights) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let mapped = Arc::new(MappedFile::new(&file).unwrap());
    (mapped, ArchiveWeights::from_file(&file).unwrap())
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.as_slice::<f32>().unwrap().to_vec()
}

#[test]
fn strides_and_offsets_are_honoured_in_the_mapping_or_a_copy() {
    let mut aligned = BTreeSet::new();
    for (offset, size, stride, expected, is_contiguous) in [
        (0, &[12][..], &[1][..], (0..12).collect::<Vec<_>>(), true),
        (4, &[2, 4], &[4, 1], (4..12).collect(), true),
        (1, &[4, 2], &[1, 4], vec![1, 5, 2, 6, 3, 7, 4, 8], false),
        (11, &[1, 3], &[7, 0], vec![11, 11, 11], false),
        (3, &[], &[], vec![3], true),
        (0, &[0, 4], &[4, 1], vec![], true),
    ] {
        for alignment in [64, 1] {
            let zip = Zip { alignment, ..Zip::default() };
            let records = [("x", &b"y"[..]), ("data/0", &storage())];
            let bytes = archive(&one(12, offset, size, stride), &records, &zip);
            let (mapped, weights) = read(&bytes);
            let record = weights.get("weight").unwrap();
            assert_eq!(record.record(), "data/0");
            let is_aligned = record.offset().is_multiple_of(4);
            aligned.insert(is_aligned);
            assert_eq!(record.is_mappable(), is_contiguous && is_aligned, "{size:?}");
            let found = weights.tensor(&mapped, "weight").unwrap();
            let expected: Vec<_> = expected.iter().map(|value| *value as f32).collect();
            assert_eq!(values(&found), expected, "{offset} {size:?} {stride:?}");
            let size: Vec<_> = size.iter().map(|size| *size as usize).collect();
            assert_eq!(found.shape(), size);
            let place =
                Some(record.offset()).filter(|_| record.is_mappable() && !expected.is_empty());
            assert_eq!(offset_of(&mapped, &found), place, "{offset} {size:?}");
        }
    }
    assert_eq!(aligned.len(), 2);
}

#[test]
fn names_on_one_storage_share_it() {
    let whole = tensor("0", 12, 0, &[3, 4], &[4, 1]);
    let (row, column) = (tensor("0", 12, 4, &[4], &[1]), tensor("0", 12, 0, &[4, 3], &[1, 4]));
    let root = object(
        "Root",
        &[
            ("a", &whole),
            ("b", &object("Inner", &[("c", &whole), ("row", &row)])),
            ("t", &column),
            ("u", &column),
        ],
    );
    let bytes = archive(&root, &[("data/0", &storage())], &Zip::default());
    let (mapped, weights) = read(&bytes);
    let tensors = weights.tensors(&mapped).unwrap();
    let address = |name: &str| {
        let (_, tensor) = tensors.iter().find(|(known, _)| known == name).unwrap();
        tensor.address().unwrap()
    };
    assert_eq!(address("a"), address("b.c"));
    assert_eq!(address("a") + 16, address("b.row"));
    assert_eq!(address("t"), address("u"));
    assert_eq!(weights.get("a").unwrap().offset() + 16, weights.get("b.row").unwrap().offset());
    let error = weights.tensor(&mapped, "b").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MissingParameter);
}

#[test]
fn records_that_are_missing_or_compressed_are_named() {
    let root = one(12, 0, &[12], &[1]);
    let missing = archive(&root, &[("data/1", &storage())], &Zip::default());
    let expected = "data/0: the record is missing".to_owned();
    assert_eq!(refusal(&missing), (ErrorKind::Archive, expected));
    let zip = Zip { method: CompressionMethod::Deflated, ..Zip::default() };
    let compressed = archive(&root, &[("data/0", &storage())], &zip);
    let expected = "data/0: found Deflated, expected no compression".to_owned();
    assert_eq!(refusal(&compressed), (ErrorKind::Archive, expected));
    let short = archive(&root, &[("data/0", &storage()[..47])], &Zip::default());
    let expected = "data/0: storage 0 has 47 bytes, expected at least 48".to_owned();
    assert_eq!(refusal(&short), (ErrorKind::Archive, expected));
    let big = archive(&root, &[("data/0", &storage()), ("byteorder", b"big")], &Zip::default());
    assert_eq!(refusal(&big).0, ErrorKind::Unsupported);
    let mut damaged = archive(&root, &[("data/0", &storage())], &Zip::default());
    let at = damaged.windows(6).position(|window| window == b"weight").unwrap();
    damaged[at] = b'W';
    let (kind, message) = refusal(&damaged);
    assert_eq!(kind, ErrorKind::Archive);
    assert!(message.starts_with("data.pkl: "), "{message}");
}

#[test]
fn tensors_stay_within_their_storage_and_file() {
    let greatest = i64::MAX;
    for (numel, offset, size, stride) in [
        (12, 1, &[12][..], &[1][..]),
        (12, 0, &[3, 4], &[5, 1]),
        (12, 0, &[2], &[greatest]),
        (12, greatest, &[2], &[1]),
        (12, -1, &[2], &[1]),
        (12, 0, &[-2], &[1]),
        (12, 0, &[2], &[-1]),
        (13, 12, &[1], &[1]),
        (greatest, 0, &[1], &[1]),
        (-1, 0, &[1], &[1]),
        (12, 0, &[2, 2], &[1]),
        // Within the storage, but copied beyond what the file has.
        (12, 0, &[1 << 40], &[0]),
        (12, 0, &[greatest, greatest], &[0, 0]),
    ] {
        let root = one(numel, offset, size, stride);
        let (kind, message) = refusal(&archive(&root, &[("data/0", &storage())], &Zip::default()));
        assert_eq!(kind, ErrorKind::Archive, "{message}");
        assert!(message.starts_with("data/0: ") || message.starts_with("weight: "), "{message}");
    }
}
