//! From text to token ids.

mod bert_chars;
mod bert_words;
mod byte_level;
mod chars;
mod charsmap;
mod class;
mod encoding;
mod frame;
mod growth;
mod ids;
mod limits;
mod pieces;
mod sentencepiece;
mod settings;
mod tokenizer;
mod tokenizer_json;
mod truncation;
mod unigram;
mod vocab;
mod windows;
mod word_piece;
mod word_piece_ids;

pub(crate) use encoding::unknown;
pub use encoding::{EncodeOptions, Encoding, Padding, Text, Truncation};
pub use limits::{MAX_PADDED_LENGTH, MAX_TEXT_BYTES};
pub(crate) use limits::{SentenceConfig, check_padded};
pub use tokenizer::Tokenizer;
