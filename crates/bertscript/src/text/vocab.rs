//! A tokenizer from its files.
//!
//! Source: `BertTokenizer`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/tokenization_bert.py>

use super::byte_level::{self, added_tokens};
use super::limits::SentenceConfig;
use super::settings::{Kind, Settings};
use super::{charsmap, growth};
use crate::assets::Assets;
use crate::error::{Error, ErrorKind, Result};
use ahash::AHashMap;
use serde_json::{Map, Value};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{BertNormalizer, Lowercase, Sequence};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, NormalizerWrapper, PaddingParams, Tokenizer, TruncationParams};

/// Builds the tokenizer of `tokenizer.json`, or else of `vocab.txt`.
pub(super) fn build(assets: &Assets, settings: &Settings) -> Result<Tokenizer> {
    let mut tokenizer = from_files(assets, settings)?;
    let sentence = SentenceConfig::read(assets)?;
    let normalizer = tokenizer.get_normalizer().cloned();
    let lowers =
        matches!(&normalizer, Some(NormalizerWrapper::BertNormalizer(bert)) if bert.lowercase);
    if sentence.do_lower_case == Some(true) && !lowers {
        // sentence-transformers lower-cases first, whatever the tokenizer does.
        let first = NormalizerWrapper::Lowercase(Lowercase);
        let both = Sequence::new(std::iter::once(first).chain(normalizer).collect());
        tokenizer.with_normalizer(Some(both)).map_err(failed)?;
    }
    Ok(tokenizer)
}

fn from_files(assets: &Assets, settings: &Settings) -> Result<Tokenizer> {
    let in_json = |error: Error| error.at("tokenizer.json");
    match (settings.kind(), assets.get("tokenizer.json"), assets.get("vocab.txt")) {
        (Kind::ByteLevelBpe, ..) => byte_level::from_files(assets, settings),
        (Kind::WordPiece, Some(text), _) => {
            let file = Vocabulary::from_json(text).map_err(in_json)?;
            word_piece(file, assets, settings)
        }
        (Kind::WordPiece, None, Some(text)) => {
            let vocab = read_vocab(text).map_err(|error| error.at("vocab.txt"))?;
            word_piece(Vocabulary { vocab, ..Vocabulary::default() }, assets, settings)
        }
        (Kind::File, Some(text), _) => {
            let mut tokenizer = from_json(text).map_err(in_json)?;
            let tokens = settings.added_tokens(assets, Vec::new(), &tokenizer)?;
            tokenizer.add_tokens(tokens).map_err(failed)?;
            Ok(tokenizer)
        }
        (_, None, found) => {
            let expected = match found {
                Some(_) => "the tokenizer's class needs tokenizer.json, found only vocab.txt",
                None => "no tokenizer is here: neither tokenizer.json nor vocab.txt",
            };
            Err(Error::new(ErrorKind::Unsupported, expected))
        }
    }
}

fn from_json(text: &[u8]) -> Result<Tokenizer> {
    // The tokenizers crate panics on a decoder whose JSON is not whole.
    let json: Value = serde_json::from_slice(text).map_err(|error| failed(error.into()))?;
    charsmap::check(&json)?;
    // What was checked, and not the file: that may have a key twice.
    let tokenizer = Tokenizer::from_bytes(json.to_string()).map_err(failed)?;
    growth::check(&tokenizer)?;
    Ok(tokenizer)
}

/// What a WordPiece tokenizer takes of its files.
#[derive(Default)]
struct Vocabulary {
    vocab: AHashMap<String, u32>,
    added_tokens: Vec<(u64, AddedToken)>,
    padding: Option<PaddingParams>,
    truncation: Option<TruncationParams>,
}

impl Vocabulary {
    /// Reads `tokenizer.json`. All of it must be well-formed, although its normalizer,
    /// pre-tokenizer and post-processor do not count.
    fn from_json(text: &[u8]) -> Result<Self> {
        let invalid = |error: serde_json::Error| failed(error.into());
        let mut file: Value = serde_json::from_slice(text).map_err(invalid)?;
        charsmap::check(&file)?;
        let model = file.get_mut("model").and_then(Value::as_object_mut);
        let model = model.ok_or_else(|| failed("expected a model".into()))?;
        // Old files do not name it.
        if let Some(kind) = model.get("type").filter(|kind| *kind != "WordPiece") {
            let message =
                format!("model: found {kind}, expected \"WordPiece\", of which BertTokenizer is");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let vocab = model.insert("vocab".to_owned(), Value::Object(Map::new()));
        let vocab = serde_json::from_value(vocab.unwrap_or_default()).map_err(invalid)?;
        let added = file.get_mut("added_tokens").map(Value::take).unwrap_or_default();
        let added_tokens = added_tokens(&added)?;
        file["added_tokens"] = Value::Array(Vec::new());
        let rest = Tokenizer::from_bytes(file.to_string()).map_err(failed)?;
        let (padding, truncation) = (rest.get_padding().cloned(), rest.get_truncation().cloned());
        Ok(Self { vocab, added_tokens, padding, truncation })
    }
}

fn word_piece(file: Vocabulary, assets: &Assets, settings: &Settings) -> Result<Tokenizer> {
    let unk = settings.required_token("unk_token")?;
    if !file.vocab.contains_key(&unk) {
        let message = format!("the vocabulary has no token {unk:?} for unknown words");
        return Err(Error::new(ErrorKind::Config, message));
    }
    let model = WordPiece::builder().vocab(file.vocab).unk_token(unk).build().map_err(failed)?;
    let mut tokenizer = Tokenizer::new(model);
    let lowercase = settings.flag("do_lower_case")?.unwrap_or(true);
    let chinese = settings.flag("tokenize_chinese_chars")?.unwrap_or(true);
    let strip_accents = settings.flag("strip_accents")?;
    let normalizer = BertNormalizer::new(true, chinese, strip_accents, lowercase);
    tokenizer.with_normalizer(Some(normalizer)).map_err(failed)?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_decoder(Some(tokenizers::decoders::wordpiece::WordPiece::default()));
    tokenizer.with_padding(file.padding);
    tokenizer.with_truncation(file.truncation).map_err(failed)?;
    let tokens = settings.added_tokens(assets, file.added_tokens, &tokenizer)?;
    tokenizer.add_tokens(tokens).map_err(failed)?;

    let cls = settings.required_token("cls_token")?;
    let sep = settings.required_token("sep_token")?;
    let id = |token: &str| tokenizer.token_to_id(token).unwrap_or(0);
    let template = TemplateProcessing::builder()
        .try_single(format!("{cls}:0 $A:0 {sep}:0"))
        .map_err(template_failed)?
        .try_pair(format!("{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1"))
        .map_err(template_failed)?
        .special_tokens(vec![(cls.clone(), id(&cls)), (sep.clone(), id(&sep))])
        .build()
        .map_err(|error| template_failed(error.to_string()))?;
    tokenizer.with_post_processor(Some(template));
    Ok(tokenizer)
}

/// One token a line, its id the number of the line. A token that stands twice
/// has the last id, as in Python.
fn read_vocab(bytes: &[u8]) -> Result<AHashMap<String, u32>> {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut vocab = AHashMap::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let token = std::str::from_utf8(line).map_err(|_| {
            let message = format!("line {} is not UTF-8", number + 1);
            Error::new(ErrorKind::Config, message)
        })?;
        let id = u32::try_from(number)
            .map_err(|_| Error::new(ErrorKind::Config, "more tokens than ids"))?;
        vocab.insert(token.to_owned(), id);
    }
    Ok(vocab)
}

pub(super) fn failed(error: tokenizers::Error) -> Error {
    Error::new(ErrorKind::Config, error.to_string())
}

fn template_failed(message: String) -> Error {
    Error::new(ErrorKind::Config, format!("cls_token or sep_token: {message}"))
        .at("tokenizer_config.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_ids() {
        let vocab = |text: &[u8]| {
            let mut vocab: Vec<_> = read_vocab(text).unwrap().into_iter().collect();
            vocab.sort_by_key(|(_, id)| *id);
            vocab
        };
        let pairs = |pairs: &[(&str, u32)]| -> Vec<(String, u32)> {
            pairs.iter().map(|(token, id)| ((*token).to_owned(), *id)).collect()
        };
        assert_eq!(vocab(b"a\nb\nc"), pairs(&[("a", 0), ("b", 1), ("c", 2)]));
        assert_eq!(vocab(b"a\r\nb\r\n"), pairs(&[("a", 0), ("b", 1)]));
        assert_eq!(vocab(b"a\n\nb\n\n"), pairs(&[("a", 0), ("b", 2), ("", 3)]));
        assert_eq!(vocab(b"a\nb\na\n"), pairs(&[("b", 1), ("a", 2)]));
        // What str.splitlines and trim_end would take away stays.
        assert_eq!(
            vocab("a\u{2028}\nb\u{a0}".as_bytes()),
            pairs(&[("a\u{2028}", 0), ("b\u{a0}", 1)])
        );
        assert!(read_vocab(b"a\n\xff").unwrap_err().to_string().contains("line 2"));
    }
}
