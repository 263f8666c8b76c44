//! What BERT's normalizer and pre-tokenizer make of each character.

use std::sync::OnceLock;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::{NormalizedString, Normalizer, NormalizerWrapper};
use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::char::canonical_combining_class;

/// What becomes of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Class {
    /// Part of a word
    Letter,
    /// Word boundary, not part of a word
    Space,
    /// Word by itself
    Single,
    /// Removed
    Removed,
    /// In bytes: the first of a character that is not ASCII
    Wide,
    /// Not known without the characters around it
    Contextual,
}

/// A character's class, and the text that replaces it in words.
pub(super) struct Mapped<'a> {
    pub(super) class: Class,
    pub(super) text: &'a [u8],
}

/// The characters of a `BertNormalizer` before a `BertPreTokenizer`.
pub(super) struct BertChars {
    normalizer: NormalizerWrapper,
    /// Whether NFD sorts combining characters
    sorts: bool,
    /// Of each byte
    pub(super) classes: [Class; 256],
    /// Of each ASCII character
    pub(super) ascii: [u8; 128],
    /// Blocks of 256 characters, described when the first of them is met
    blocks: Box<[OnceLock<Block>]>,
}

const BLOCK: usize = 256;

struct Block {
    /// Class and end of the text of each character; its start is the end of the one before
    entries: Box<[(Class, u16); BLOCK]>,
    text: Vec<u8>,
}

impl BertChars {
    /// Of a normalizer that maps characters one by one; none otherwise.
    ///
    /// Cleaning, spaces around Chinese characters, decomposing, removing marks and lower case all
    /// do, except that NFD sorts combining characters. Marks are removed after that, so the order
    /// matters for those that are not marks in the tables of the tokenizers crate: they are
    /// [`Class::Contextual`].
    pub(super) fn new(normalizer: &NormalizerWrapper) -> Option<Self> {
        let bert = bert_normalizer(normalizer)?;
        let mut chars = Self {
            normalizer: normalizer.clone(),
            sorts: bert.strip_accents.unwrap_or(bert.lowercase),
            classes: [Class::Wide; 256],
            ascii: [0; 128],
            blocks: std::iter::repeat_with(OnceLock::new).take(0x11_0000 / BLOCK).collect(),
        };
        for byte in 0..128 {
            let (class, text) = chars.describe(char::from(byte));
            let is_byte = matches!(class, Class::Space | Class::Removed) || text.len() == 1;
            if class == Class::Contextual || !is_byte {
                return None;
            }
            chars.classes[usize::from(byte)] = class;
            chars.ascii[usize::from(byte)] = text.bytes().next().unwrap_or(byte);
        }
        Some(chars)
    }

    pub(super) fn get(&self, character: char) -> Mapped<'_> {
        let (block, index) = (character as usize / BLOCK, character as usize % BLOCK);
        let block = self.blocks[block].get_or_init(|| self.block(block * BLOCK));
        let (class, end) = block.entries[index];
        let start = index.checked_sub(1).map_or(0, |before| block.entries[before].1);
        Mapped { class, text: &block.text[usize::from(start)..usize::from(end)] }
    }

    fn block(&self, first: usize) -> Block {
        let mut entries = Box::new([(Class::Removed, 0); BLOCK]);
        let mut text = Vec::new();
        for (code, entry) in (first as u32..).zip(entries.iter_mut()) {
            let described = char::from_u32(code).map(|character| self.describe(character));
            let (class, letters) = described.unwrap_or((Class::Removed, String::new()));
            text.extend_from_slice(letters.as_bytes());
            // A character is replaced by at most four, which is far less than 255 bytes.
            *entry = (class, text.len() as u16);
        }
        Block { entries, text }
    }

    /// Asks the normalizer of the tokenizers crate itself, whose tables of Unicode are its own.
    fn describe(&self, character: char) -> (Class, String) {
        let mut normalized = NormalizedString::from(character.to_string());
        if self.normalizer.normalize(&mut normalized).is_err() {
            return (Class::Contextual, String::new());
        }
        let made = normalized.get();
        let word = made.trim_matches(char::is_whitespace);
        let is_sorted = |letter: char| self.sorts && canonical_combining_class(letter) != 0;
        let is_apart = made.starts_with(char::is_whitespace) && made.ends_with(char::is_whitespace);
        let is_single = word.chars().count() == 1;
        let class = match word {
            _ if made.is_empty() => Class::Removed,
            "" => Class::Space,
            _ if word.chars().any(is_sorted) => Class::Contextual,
            _ if is_single && (is_apart || word.chars().all(is_punctuation)) => Class::Single,
            _ if word.len() < made.len() => Class::Contextual,
            _ if word.chars().all(|c| !c.is_whitespace() && !is_punctuation(c)) => Class::Letter,
            _ => Class::Contextual,
        };
        match class {
            Class::Letter | Class::Single => (class, word.to_owned()),
            _ => (class, String::new()),
        }
    }
}

/// The normalizer of BERT, alone or after the lower case of sentence-transformers.
fn bert_normalizer(normalizer: &NormalizerWrapper) -> Option<&BertNormalizer> {
    match normalizer {
        NormalizerWrapper::BertNormalizer(bert) => Some(bert),
        NormalizerWrapper::Sequence(all) => match all.as_ref() {
            [NormalizerWrapper::Lowercase(_), NormalizerWrapper::BertNormalizer(bert)] => {
                Some(bert)
            }
            _ => None,
        },
        _ => None,
    }
}

/// As `BertPreTokenizer` has it.
fn is_punctuation(character: char) -> bool {
    character.is_ascii_punctuation() || character.is_punctuation()
}
