//! Files mapped into memory.

use bertscript_process::MappedFile;
use std::fs::File;
use std::io::Write;

fn file(bytes: &[u8]) -> File {
    let path = std::env::temp_dir().join(format!("mapped-{}-{}", std::process::id(), bytes.len()));
    File::create(&path).unwrap().write_all(bytes).unwrap();
    let file = File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file
}

#[test]
fn a_mapping_is_what_the_file_is() {
    for length in [0, 1, 4096, 10_000] {
        let bytes: Vec<u8> = (0..length).map(|number| number as u8).collect();
        // The mapping outlives the file's name and its descriptor.
        let mapped = MappedFile::new(&file(&bytes)).unwrap();
        assert_eq!(mapped.bytes(), bytes);
        mapped.release();
        assert_eq!(mapped.bytes(), bytes, "pages come back");
        let copy = MappedFile::copy(&bytes).unwrap();
        assert_eq!(copy.bytes().as_ptr().addr() % 4096, 0);
        copy.release();
        assert_eq!(copy.bytes(), bytes, "nothing would bring its pages back");
    }
}

#[test]
fn what_cannot_be_mapped_is_an_error() {
    let (_, writer) = std::io::pipe().unwrap();
    let descriptor = std::os::fd::OwnedFd::from(writer);
    assert!(MappedFile::new(&File::from(descriptor)).is_err());
}
