//! Every input that fuzzing keeps, read once more: see `fuzz/`.

use bertscript::{EncodeOptions, Tokenizer};
use bertscript_tests::fuzzing::{TARGETS, Target};
use bertscript_tests::root;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The formats whose readers ask no libtorch, which Miri cannot call; but for SentencePiece's,
/// whose vocabularies take it many minutes to build, as [`UNIGRAM`]'s do. It runs those
/// of weights as far as they go without: `crates/bertscript/src/checkpoint/tests.rs`.
const ALONE: [&str; 5] = ["config", "archive", "metadata", "tokenizer_json", "vocab"];

/// How names of Unigram tokenizers begin.
const UNIGRAM: &str = "unigram";

fn targets() -> impl Iterator<Item = Target> {
    TARGETS.into_iter().filter(|(name, _)| !cfg!(miri) || ALONE.contains(name))
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn every_input_of_the_corpora_is_read_or_refused() {
    for (name, read) in targets() {
        for entry in fs::read_dir(root().join("fuzz/corpus").join(name)).unwrap() {
            let path = entry.unwrap().path();
            if cfg!(miri) && path.file_name().unwrap().to_str().unwrap().starts_with(UNIGRAM) {
                continue;
            }
            eprintln!("{}", path.display());
            read(&fs::read(path).unwrap());
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "it takes many minutes to build a vocabulary")]
fn the_corpus_has_tokenizers_that_are_read() {
    let open = |name: &str| {
        let data = fs::read(root().join("fuzz/corpus/tokenizer_json").join(name)).unwrap();
        let files = ["tokenizer.json", "tokenizer_config.json"].into_iter().map(str::to_owned);
        let files = files.zip(data.split(|byte| *byte == 0x0c).map(<[u8]>::to_vec));
        Tokenizer::from_assets(&files.collect()).unwrap()
    };
    for (name, class, model) in [
        ("sentence", "BertTokenizer", "WordPiece"),
        ("unigram", "TokenizersBackend", "Unigram"),
        ("unigram-bytes", "TokenizersBackend", "Unigram"),
        ("unigram-class", "XLMRobertaTokenizer", "Unigram"),
    ] {
        let tokenizer = open(name);
        assert_eq!((tokenizer.class(), tokenizer.model()), (class, model), "{name}");
    }
    let mapped = open("unigram").encode("\u{fb01}", &EncodeOptions::default()).unwrap();
    assert!(mapped[0].tokens.contains(&"fi".to_owned()), "{mapped:?}");
}

#[test]
fn every_format_has_a_program_and_a_corpus() {
    let formats: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for folder in ["fuzz_targets", "corpus"] {
        assert_eq!(names(&root().join("fuzz").join(folder)), formats, "{folder}");
    }
}
