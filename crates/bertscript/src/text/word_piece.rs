//! WordPiece, Schuster and Nakajima 2012: the tokenizers of BERT and of MPNet.
//!
//! Sources: `BertTokenizer`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/tokenization_bert.py>,
//! and `MPNetTokenizer`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/mpnet/tokenization_mpnet.py>

use super::class::Kind;
use super::settings::Settings;
use super::tokenizer_json::{Extras, TokenizerJson, failed};
use super::vocab::missing;
use crate::assets::Assets;
use crate::error::{Error, ErrorKind, Result};
use ahash::AHashMap;
use serde_json::Value;
use tokenizers::Tokenizer;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::processors::template::TemplateProcessing;

/// Builds the tokenizer of the vocabulary in `tokenizer.json`, or else of `vocab.txt`.
pub(super) fn from_files(
    json: Option<TokenizerJson>,
    assets: &Assets,
    settings: &Settings,
) -> Result<Tokenizer> {
    let (vocab, extras) = match (json, assets.get("vocab.txt")) {
        (Some(json), _) => read_json(json).map_err(|error| error.at("tokenizer.json"))?,
        (None, Some(text)) => {
            let vocab = read_vocab(text).map_err(|error| error.at("vocab.txt"))?;
            (vocab, Extras::default())
        }
        (None, None) => return Err(missing(settings)),
    };
    build(vocab, extras, assets, settings)
}

fn read_json(json: TokenizerJson) -> Result<(AHashMap<String, u32>, Extras)> {
    let (mut model, extras) = json.parts("WordPiece")?;
    let vocab = model.get_mut("vocab").map(Value::take).unwrap_or_default();
    Ok((serde_json::from_value(vocab).map_err(|error| failed(error.into()))?, extras))
}

fn build(
    vocab: AHashMap<String, u32>,
    extras: Extras,
    assets: &Assets,
    settings: &Settings,
) -> Result<Tokenizer> {
    let unk = settings.required_token("unk_token")?;
    if !vocab.contains_key(&unk) {
        let message = format!("the vocabulary has no token {unk:?} for unknown words");
        return Err(Error::new(ErrorKind::Config, message));
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
    tokenizer.with_padding(extras.padding);
    tokenizer.with_truncation(extras.truncation).map_err(failed)?;
    let tokens = settings.added_tokens(assets, extras.added_tokens, None, &tokenizer)?;
    tokenizer.add_tokens(tokens).map_err(failed)?;

    let [cls, sep] = settings.end_tokens(["cls_token", "sep_token"], &tokenizer)?;
    if settings.kind() == Kind::MpNet {
        let processing =
            RobertaProcessing::new(sep, cls).trim_offsets(true).add_prefix_space(false);
        tokenizer.with_post_processor(Some(processing));
    } else {
        tokenizer.with_post_processor(Some(typed_template(cls, sep)?));
    }
    Ok(tokenizer)
}

/// `[CLS] A [SEP] B [SEP]`, the second text of type 1.
pub(super) fn typed_template(cls: (String, u32), sep: (String, u32)) -> Result<TemplateProcessing> {
    let single = format!("{}:0 $A:0 {}:0", cls.0, sep.0);
    let pair = format!("{single} $B:1 {}:1", sep.0);
    TemplateProcessing::builder()
        .try_single(single)
        .map_err(template_failed)?
        .try_pair(pair)
        .map_err(template_failed)?
        .special_tokens(vec![cls, sep])
        .build()
        .map_err(|error| template_failed(error.to_string()))
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

pub(super) fn template_failed(message: String) -> Error {
    Error::new(ErrorKind::Config, format!("special tokens: {message}")).at("tokenizer_config.json")
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
