//! A tokenizer from its files.
//!
//! Source: `BertTokenizer`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/tokenization_bert.py>

use super::growth;
use crate::assets::Assets;
use crate::error::{Error, ErrorKind, Result};
use ahash::AHashMap;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::HashSet;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{BertNormalizer, Lowercase, Sequence};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, NormalizerWrapper, Tokenizer};

/// The special tokens and what they are called unless a file says otherwise.
const SPECIAL_TOKENS: [(&str, &str); 5] = [
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];

/// What the files beside the vocabulary say of it.
pub(super) struct Settings {
    config: Map<String, Value>,
    special_tokens: Map<String, Value>,
}

impl Settings {
    pub(super) fn read(assets: &Assets) -> Result<Self> {
        Ok(Self {
            config: assets.json("tokenizer_config.json")?.unwrap_or_default(),
            special_tokens: assets.json("special_tokens_map.json")?.unwrap_or_default(),
        })
    }

    /// A setting of `tokenizer_config.json`; what is absent differs from null.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.config.get(key)
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => {
                let message = format!("{key}: found {other}, expected true or false");
                Err(Error::new(ErrorKind::Config, message).at("tokenizer_config.json"))
            }
        }
    }

    /// The special token of a role, such as `cls_token`.
    pub(super) fn special_token(&self, role: &str) -> Option<String> {
        let files = [&self.config, &self.special_tokens];
        files.into_iter().find_map(|file| content(file.get(role)?)).map(str::to_owned)
    }

    /// Further tokens that stand for themselves wherever they are in a text.
    fn added_tokens(&self, assets: &Assets) -> Result<Vec<AddedToken>> {
        let mut added: Vec<(u64, AddedToken)> = Vec::new();
        let mut known = HashSet::new();
        if let Some(tokens) = self.get("added_tokens_decoder").and_then(Value::as_object) {
            for (id, token) in tokens {
                let is = |key: &str| token.get(key).and_then(Value::as_bool).unwrap_or(false);
                let Some(content) = token.get("content").and_then(Value::as_str) else { continue };
                let token = AddedToken::from(content, is("special"))
                    .single_word(is("single_word"))
                    .lstrip(is("lstrip"))
                    .rstrip(is("rstrip"))
                    .normalized(is("normalized"));
                known.insert(token.content.clone());
                added.push((id.parse().unwrap_or(u64::MAX), token));
            }
        }
        let file: Map<String, Value> = assets.json("added_tokens.json")?.unwrap_or_default();
        for (content, id) in file {
            if !known.contains(&content) {
                added.push((id.as_u64().unwrap_or(u64::MAX), AddedToken::from(content, false)));
            }
        }
        // Those without a place in the vocabulary get the next ids, in this order.
        added.sort_by_key(|(id, _)| *id);
        Ok(added.into_iter().map(|(_, token)| token).collect())
    }

    /// Special tokens without a role.
    fn extra_special_tokens(&self) -> impl Iterator<Item = AddedToken> {
        // Renamed in transformers 5.
        let lists = ["additional_special_tokens", "extra_special_tokens"];
        let values = lists.into_iter().filter_map(|list| {
            self.get(list).or_else(|| self.special_tokens.get(list))?.as_array()
        });
        values.flatten().filter_map(content).map(|content| AddedToken::from(content, true))
    }
}

/// The text of a token, which stands alone or in an object with its flags.
fn content(token: &Value) -> Option<&str> {
    match token {
        Value::Object(token) => token.get("content")?.as_str(),
        other => other.as_str(),
    }
}

/// Builds the tokenizer of `tokenizer.json`, or else of `vocab.txt`.
pub(super) fn build(assets: &Assets, settings: &Settings) -> Result<Tokenizer> {
    #[derive(Default, Deserialize)]
    struct SentenceBert {
        do_lower_case: Option<bool>,
    }
    let mut tokenizer = from_files(assets, settings)?;
    let sentence: SentenceBert = assets.json("sentence_bert_config.json")?.unwrap_or_default();
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
    if let Some(text) = assets.get("tokenizer.json") {
        return from_json(text, settings).map_err(|error| error.at("tokenizer.json"));
    }
    let Some(vocab) = assets.get("vocab.txt") else {
        let message = "no tokenizer is here: neither tokenizer.json nor vocab.txt";
        return Err(Error::new(ErrorKind::Unsupported, message));
    };
    let vocab = read_vocab(vocab).map_err(|error| error.at("vocab.txt"))?;
    from_vocab(vocab, assets, settings)
}

fn from_json(text: &[u8], settings: &Settings) -> Result<Tokenizer> {
    // The tokenizers crate panics on a decoder whose JSON is not whole.
    serde_json::from_slice::<Value>(text).map_err(|error| failed(error.into()))?;
    let mut tokenizer = Tokenizer::from_bytes(text).map_err(failed)?;
    growth::check(&tokenizer)?;
    // transformers lets tokenizer_config.json have the last word.
    if let Some(NormalizerWrapper::BertNormalizer(found)) = tokenizer.get_normalizer() {
        let mut normalizer = *found;
        if let Some(lowercase) = settings.flag("do_lower_case")? {
            normalizer.lowercase = lowercase;
        }
        if let Some(chinese) = settings.flag("tokenize_chinese_chars")? {
            normalizer.handle_chinese_chars = chinese;
        }
        if settings.get("strip_accents").is_some() {
            normalizer.strip_accents = settings.flag("strip_accents")?;
        }
        tokenizer.with_normalizer(Some(normalizer)).map_err(failed)?;
    }
    let special = SPECIAL_TOKENS.iter().filter_map(|(role, _)| settings.special_token(role));
    let special = special.map(|token| AddedToken::from(token, true));
    let special: Vec<_> = special.chain(settings.extra_special_tokens()).collect();
    tokenizer.add_special_tokens(special).map_err(failed)?;
    Ok(tokenizer)
}

fn from_vocab(
    vocab: AHashMap<String, u32>,
    assets: &Assets,
    settings: &Settings,
) -> Result<Tokenizer> {
    let special = |role: &str| {
        let (_, usual) =
            SPECIAL_TOKENS.iter().find(|(known, _)| *known == role).unwrap_or(&("", ""));
        settings.special_token(role).unwrap_or_else(|| (*usual).to_owned())
    };
    let unk = special("unk_token");
    if !vocab.contains_key(&unk) {
        let message = format!("the vocabulary has no token {unk:?} for unknown words");
        return Err(Error::new(ErrorKind::Config, message).at("vocab.txt"));
    }
    let model = WordPiece::builder().vocab(vocab).unk_token(unk).build().map_err(failed)?;
    let mut tokenizer = Tokenizer::new(model);
    let lowercase = settings.flag("do_lower_case")?.unwrap_or(true);
    let chinese = settings.flag("tokenize_chinese_chars")?.unwrap_or(true);
    let strip_accents = settings.flag("strip_accents")?;
    let normalizer = BertNormalizer::new(true, chinese, strip_accents, lowercase);
    tokenizer.with_normalizer(Some(normalizer)).map_err(failed)?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_decoder(Some(tokenizers::decoders::wordpiece::WordPiece::default()));
    tokenizer.add_tokens(settings.added_tokens(assets)?).map_err(failed)?;
    let tokens = SPECIAL_TOKENS.iter().map(|(role, _)| AddedToken::from(special(role), true));
    let tokens: Vec<_> = tokens.chain(settings.extra_special_tokens()).collect();
    tokenizer.add_special_tokens(tokens).map_err(failed)?;

    let (cls, sep) = (special("cls_token"), special("sep_token"));
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
