//! Archives made to cost more than they are worth.

use std::io::{Cursor, Write};
use torchscript_reader::{ArchiveReader, ErrorKind};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn archive(files: &[&str], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for name in files {
        zip.start_file(*name, options).unwrap();
        zip.write_all(&[0; 1000]).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn extra_files_are_not_unpacked() {
    let read = |method| {
        let bytes = archive(&["a/extra/x"], method);
        ArchiveReader::from_bytes(&bytes).unwrap().extra_file("x")
    };
    assert_eq!(read(CompressionMethod::Stored).unwrap().unwrap(), [0; 1000]);
    let error = read(CompressionMethod::Deflated).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Archive);
    assert!(error.to_string().contains("extra/x: found Deflated"), "{error}");
}

#[test]
fn records_do_not_overlap() {
    let mut bytes = archive(&["a/x", "a/y"], CompressionMethod::Stored);
    ArchiveReader::from_bytes(&bytes).unwrap().check().unwrap();
    // The second entry of the directory gets the place of the first.
    let entry = bytes.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").unwrap();
    bytes[entry + 42..entry + 46].fill(0);
    let error = ArchiveReader::from_bytes(&bytes).unwrap().check().unwrap_err();
    assert_eq!(error.to_string(), "records overlap");
}
