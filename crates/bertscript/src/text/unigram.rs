//! Unigram, Kudo 2018: the tokenizers of XLM-RoBERTa, CamemBERT, ALBERT and DeBERTa-v2.
//!
//! Sources: `XLMRobertaTokenizer`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/xlm_roberta/tokenization_xlm_roberta.py>,
//! `CamembertTokenizer`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/camembert/tokenization_camembert.py>,
//! `AlbertTokenizer`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/albert/tokenization_albert.py>,
//! and `DebertaV2Tokenizer`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/deberta_v2/tokenization_deberta_v2.py>

use super::charsmap;
use super::class::Kind;
use super::pieces::check_pieces;
use super::sentencepiece::Model;
use super::settings::Settings;
use super::tokenizer_json::{Extras, TokenizerJson, failed};
use super::vocab::missing;
use super::word_piece::{template_failed, typed_template};
use crate::assets::Assets;
use crate::error::{Error, ErrorKind, Result};
use serde_json::Value;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFC, NFKD, Replace, Sequence, Strip, StripAccents};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    AddedToken, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    SplitDelimiterBehavior, Tokenizer,
};

type Pieces = Vec<(String, f64)>;

/// Builds the tokenizer of the pieces in `tokenizer.json`, or else of a SentencePiece model.
pub(super) fn from_files(
    json: Option<TokenizerJson>,
    assets: &Assets,
    settings: &Settings,
) -> Result<Tokenizer> {
    let found = settings.kind().files().iter().find_map(|name| Some((name, assets.get(name)?)));
    let (name, (pieces, unk_id, extras)) = match (json, found) {
        (Some(json), _) => {
            let name = "tokenizer.json";
            let (pieces, extras) = read_json(json, settings).map_err(|error| error.at(name))?;
            (name, (pieces, None, extras))
        }
        (None, Some((name, file))) => {
            let (pieces, unk_id, extras) =
                read_model(file, settings).map_err(|error| error.at(*name))?;
            refuse_bos_and_eos(settings)?;
            (*name, (pieces, Some(unk_id), extras))
        }
        (None, None) => return Err(missing(settings)),
    };
    let unk_id = unknown(&pieces, unk_id, settings).map_err(|error| error.at(name))?;
    build(pieces, unk_id, extras, assets, settings)
}

fn read_json(json: TokenizerJson, settings: &Settings) -> Result<(Pieces, Extras)> {
    let (mut model, mut extras) = json.parts("Unigram")?;
    if settings.kind() == Kind::Camembert && !settings.lists_extra_tokens() {
        let names = ["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"];
        extras.class_tokens = Some(names.map(|name| AddedToken::from(name, true)).to_vec());
    }
    let pieces = model.get_mut("vocab").map(Value::take).unwrap_or_default();
    Ok((serde_json::from_value(pieces).map_err(|error| failed(error.into()))?, extras))
}

/// The pieces of a SentencePiece model in the order of the class.
fn read_model(file: &[u8], settings: &Settings) -> Result<(Pieces, i64, Extras)> {
    let model = Model::read(file)?;
    check_pieces(model.pieces.iter().map(|(text, _)| text.as_str()))?;
    let token = |role| Ok::<_, Error>((settings.required_token(role)?, 0.0));
    let literal = |text: &str, score: f64| Ok((text.to_owned(), score));
    let (first, skipped) = match settings.kind() {
        Kind::XlmRoberta => {
            let roles = ["bos_token", "pad_token", "eos_token", "unk_token"];
            (Vec::from(roles.map(token)), 3)
        }
        Kind::Camembert => {
            let first = [
                literal("<s>NOTUSED", 0.0),
                token("pad_token"),
                literal("</s>NOTUSED", 0.0),
                token("unk_token"),
                literal("<unk>NOTUSED", -100.0),
            ];
            (Vec::from(first), 1)
        }
        _ => (Vec::new(), 0),
    };
    let last = (skipped > 0).then(|| token("mask_token"));
    let pieces = model.pieces.into_iter().skip(skipped).map(Ok);
    let pieces = first.into_iter().chain(pieces).chain(last).collect::<Result<_>>()?;
    let charsmap = (!model.charsmap.is_empty()).then(|| charsmap::precompiled(model.charsmap));
    let extras = Extras {
        // A list of special_tokens_map.json by its old name does not count beside them.
        class_tokens: (!settings.states_extra_tokens()).then_some(model.tokens),
        charsmap: charsmap.transpose()?,
        ..Extras::default()
    };
    Ok((pieces, i64::from(model.unk_id), extras))
}

/// Of a SentencePiece model, `AlbertTokenizer` has another template where these are said.
fn refuse_bos_and_eos(settings: &Settings) -> Result<()> {
    let keys = ["add_bos_token", "add_eos_token"];
    let found = keys.into_iter().find(|key| settings.get(key).is_some());
    match found.filter(|_| settings.kind() == Kind::Albert) {
        None => Ok(()),
        Some(key) => {
            let message = format!("{key}: found it beside spiece.model, expected tokenizer.json");
            Err(Error::new(ErrorKind::Unsupported, message).at("tokenizer_config.json"))
        }
    }
}

/// The number of the piece of unknown characters.
fn unknown(pieces: &Pieces, of_model: Option<i64>, settings: &Settings) -> Result<usize> {
    let unk = settings.required_token("unk_token")?;
    let found = match settings.kind() {
        Kind::Albert => Some(1),
        Kind::Camembert => Some(pieces.iter().position(|(piece, _)| *piece == unk).unwrap_or(0)),
        Kind::DebertaV2 => {
            let found = pieces.iter().position(|(piece, score)| *piece == unk && *score == 0.0);
            match (found, of_model) {
                (Some(found), _) => Some(found),
                (None, Some(number)) => usize::try_from(number).ok(),
                (None, None) => usize::try_from(settings.number("unk_id", 1)?).ok(),
            }
        }
        _ => Some(3),
    };
    found.filter(|found| *found < pieces.len()).ok_or_else(|| {
        let message = format!("the {} pieces have none for unknown characters", pieces.len());
        Error::new(ErrorKind::Config, message)
    })
}

fn build(
    pieces: Pieces,
    unk_id: usize,
    extras: Extras,
    assets: &Assets,
    settings: &Settings,
) -> Result<Tokenizer> {
    let model = Unigram::from(pieces, Some(unk_id), false).map_err(failed)?;
    let mut tokenizer = Tokenizer::new(model);
    let prefix = settings.condition("add_prefix_space", true)?;
    let scheme = match (prefix, settings.kind()) {
        (true, _) => PrependScheme::Always,
        (false, Kind::DebertaV2) => PrependScheme::First,
        (false, _) => PrependScheme::Never,
    };
    let metaspace = Metaspace::new('\u{2581}', scheme, true);
    let mut split: Vec<PreTokenizerWrapper> = match settings.kind() {
        Kind::DebertaV2 => Vec::new(),
        _ => vec![WhitespaceSplit.into()],
    };
    if settings.kind() == Kind::DebertaV2 && settings.condition("split_by_punct", false)? {
        split.push(Punctuation::new(SplitDelimiterBehavior::Isolated).into());
    }
    split.push(metaspace.clone().into());
    let charsmap = extras.charsmap.map(NormalizerWrapper::Precompiled);
    let normalizer = normalizer(charsmap, settings)?;
    tokenizer.with_normalizer(normalizer).map_err(failed)?;
    tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(split)));
    tokenizer.with_decoder(Some(metaspace));
    tokenizer.with_padding(extras.padding);
    tokenizer.with_truncation(extras.truncation).map_err(failed)?;
    // Those of ALBERT are pieces.
    let of_albert =
        (settings.kind() == Kind::Albert).then(|| albert_template(&tokenizer, settings));
    let of_albert = of_albert.transpose()?;
    let tokens =
        settings.added_tokens(assets, extras.added_tokens, extras.class_tokens, &tokenizer)?;
    tokenizer.add_tokens(tokens).map_err(failed)?;
    let template: PostProcessorWrapper = match (of_albert, settings.kind()) {
        (Some(template), _) => extras.post_processor.unwrap_or(template.into()),
        (None, Kind::DebertaV2) => {
            let [cls, sep] = settings.end_tokens(["cls_token", "sep_token"], &tokenizer)?;
            typed_template(cls, sep)?.into()
        }
        (None, _) => {
            let [bos, eos] = settings.end_tokens(["bos_token", "eos_token"], &tokenizer)?;
            untyped_template(bos, eos)?.into()
        }
    };
    tokenizer.with_post_processor(Some(template));
    Ok(tokenizer)
}

/// What each class makes of a text before it is split.
fn normalizer(
    charsmap: Option<NormalizerWrapper>,
    settings: &Settings,
) -> Result<Option<NormalizerWrapper>> {
    let replace = |pattern: ReplacePattern, content: &str| {
        Replace::new(pattern, content).map(NormalizerWrapper::Replace).map_err(failed)
    };
    let mut all: Vec<NormalizerWrapper> = Vec::new();
    match settings.kind() {
        Kind::Albert => {
            all.push(replace("``".into(), "\"")?);
            all.push(replace("''".into(), "\"")?);
            if !settings.condition("keep_accents", false)? {
                all.extend([NFKD.into(), StripAccents.into()]);
            }
            if settings.condition("do_lower_case", true)? {
                all.push(Lowercase.into());
            }
            all.extend(charsmap);
        }
        Kind::DebertaV2 => {
            if settings.condition("do_lower_case", false)? {
                all.push(Lowercase.into());
            }
            let spaces = ReplacePattern::Regex(r"\s{2,}|[\n\r\t]".to_owned());
            all.extend([replace(spaces, " ")?, NFC.into(), Strip::new(false, true).into()]);
        }
        _ => return Ok(charsmap),
    }
    Ok(Some(Sequence::new(all).into()))
}

/// The tokens are called `[CLS]` and `[SEP]` here, whatever they are.
fn albert_template(tokenizer: &Tokenizer, settings: &Settings) -> Result<TemplateProcessing> {
    let [(_, cls), (_, sep)] = settings.end_tokens(["cls_token", "sep_token"], tokenizer)?;
    typed_template(("[CLS]".to_owned(), cls), ("[SEP]".to_owned(), sep))
}

/// `<s> A </s></s> B </s>`, without token types.
fn untyped_template(bos: (String, u32), eos: (String, u32)) -> Result<TemplateProcessing> {
    let (first, second) = ("$A".to_owned(), "$B".to_owned());
    let single = vec![bos.0.clone(), first, eos.0.clone()];
    let pair = [&single[..], &[eos.0.clone(), second, eos.0.clone()]].concat();
    TemplateProcessing::builder()
        .try_single(single)
        .map_err(template_failed)?
        .try_pair(pair)
        .map_err(template_failed)?
        .special_tokens(vec![bos, eos])
        .build()
        .map_err(|error| template_failed(error.to_string()))
}
