//! A tokenizer from its files.

use super::limits::SentenceConfig;
use super::settings::{Kind, Settings};
use super::tokenizer_json::{TokenizerJson, failed};
use super::{byte_level, word_piece};
use crate::assets::Assets;
use crate::error::{Error, ErrorKind, Result};
use tokenizers::normalizers::{Lowercase, Sequence};
use tokenizers::{NormalizerWrapper, Tokenizer};

/// Builds the tokenizer of `tokenizer.json`, or else of the vocabulary files of its class.
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
    let json = assets.get("tokenizer.json").map(TokenizerJson::parse);
    let json = json.transpose().map_err(in_json)?;
    match (settings.kind(), json) {
        (Kind::WordPiece, json) => word_piece::from_files(json, assets, settings),
        (Kind::ByteLevelBpe, json) => byte_level::from_files(json, assets, settings),
        (Kind::File, Some(json)) => {
            let mut tokenizer = json.tokenizer().map_err(in_json)?;
            let tokens = settings.added_tokens(assets, Vec::new(), &tokenizer)?;
            tokenizer.add_tokens(tokens).map_err(failed)?;
            Ok(tokenizer)
        }
        (Kind::File, None) => Err(missing(&[])),
    }
}

/// That neither `tokenizer.json` nor the vocabulary files of the class are there.
pub(super) fn missing(files: &[&str]) -> Error {
    let message = match files {
        [] => "no tokenizer is here: the tokenizer's class needs tokenizer.json".to_owned(),
        files => {
            format!("no tokenizer is here: neither tokenizer.json nor {}", files.join(" and "))
        }
    };
    Error::new(ErrorKind::Unsupported, message)
}
