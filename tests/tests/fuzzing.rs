//! Every input that fuzzing keeps, read once more: see `fuzz/`.

use bertscript_tests::fuzzing::TARGETS;
use bertscript_tests::root;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn every_input_of_the_corpora_is_read_or_refused() {
    for (name, read) in TARGETS {
        for entry in fs::read_dir(root().join("fuzz/corpus").join(name)).unwrap() {
            let path = entry.unwrap().path();
            eprintln!("{}", path.display());
            read(&fs::read(path).unwrap());
        }
    }
}

#[test]
fn every_format_has_a_program_and_a_corpus() {
    let formats: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for folder in ["fuzz_targets", "corpus"] {
        assert_eq!(names(&root().join("fuzz").join(folder)), formats, "{folder}");
    }
}
