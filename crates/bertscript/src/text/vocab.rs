//! A tokenizer from its files.

use super::class::Kind;
use super::limits::SentenceConfig;
use super::settings::Settings;
use super::tokenizer_json::{TokenizerJson, failed};
use super::{byte_level, unigram, word_piece};
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
    let json = assets.get("tokenizer.json").map(TokenizerJson::parse);
    let json = json.transpose().map_err(|error| error.at("tokenizer.json"))?;
    match (json, settings.kind().model()) {
        (Some(json), None) => as_it_is(&json, assets, settings),
        // transformers 5 takes it for a model of the class, and gives ids that no model was
        // trained on, or an error; version 4 used the file.
        (Some(json), Some(model)) if !json.is(model) => {
            as_it_is(&json, assets, &settings.as_it_is())
        }
        (json, _) => match settings.kind() {
            Kind::Bert | Kind::MpNet => word_piece::from_files(json, assets, settings),
            Kind::Roberta => byte_level::from_files(json, assets, settings),
            Kind::XlmRoberta | Kind::Camembert | Kind::Albert | Kind::DebertaV2 => {
                unigram::from_files(json, assets, settings)
            }
            Kind::File => Err(missing(settings)),
        },
    }
}

fn as_it_is(json: &TokenizerJson, assets: &Assets, settings: &Settings) -> Result<Tokenizer> {
    let mut tokenizer = json.tokenizer().map_err(|error| error.at("tokenizer.json"))?;
    let tokens = settings.added_tokens(assets, Vec::new(), None, &tokenizer)?;
    tokenizer.add_tokens(tokens).map_err(failed)?;
    Ok(tokenizer)
}

/// That neither `tokenizer.json` nor the vocabulary files of the class are there.
pub(super) fn missing(settings: &Settings) -> Error {
    let message = match settings.kind().files() {
        [] => "no tokenizer is here: the tokenizer's class needs tokenizer.json".to_owned(),
        files => {
            format!("no tokenizer is here: neither tokenizer.json nor {}", files.join(" and "))
        }
    };
    Error::new(ErrorKind::Unsupported, message)
}
