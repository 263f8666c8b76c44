//! Byte-level BPE, Radford et al. 2019: the tokenizer of RoBERTa.
//!
//! Source: `RobertaTokenizer`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/roberta/tokenization_roberta.py>

use super::settings::Settings;
use super::tokenizer_json::{Extras, TokenizerJson, failed};
use super::vocab::missing;
use crate::assets::Assets;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{HEADROOM, check};
use ahash::AHashMap;
use serde_json::Value;
use tokenizers::Tokenizer;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::roberta::RobertaProcessing;

type Vocabulary = AHashMap<String, u32>;
type Merges = Vec<(String, String)>;

/// Builds the tokenizer of the vocabulary and the merges in `tokenizer.json`, or else of
/// `vocab.json` and `merges.txt`.
pub(super) fn from_files(
    json: Option<TokenizerJson>,
    assets: &Assets,
    settings: &Settings,
) -> Result<Tokenizer> {
    const FILES: [&str; 2] = ["vocab.json", "merges.txt"];
    let (vocab, merges, extras) = match (json, FILES.map(|name| assets.get(name))) {
        (Some(json), _) => read_json(json).map_err(|error| error.at("tokenizer.json"))?,
        (None, [Some(vocab), Some(merges)]) => {
            let vocab = serde_json::from_slice(vocab);
            let vocab = vocab.map_err(|error| failed(error.into()).at(FILES[0]))?;
            let merges = read_merges(merges).map_err(|error| error.at(FILES[1]))?;
            (vocab, merges, Extras::default())
        }
        (None, _) => return Err(missing(settings)),
    };
    build(vocab, merges, extras, assets, settings)
}

fn read_json(json: TokenizerJson) -> Result<(Vocabulary, Merges, Extras)> {
    let (mut model, extras) = json.parts("BPE")?;
    let mut take = |key| model.get_mut(key).map(Value::take).unwrap_or_default();
    let vocab = serde_json::from_value(take("vocab")).map_err(|error| failed(error.into()))?;
    Ok((vocab, merges_of_json(take("merges"))?, extras))
}

/// What a merge takes in memory while a tokenizer is built, about.
const NEEDED_PER_MERGE: usize = 256;

/// Pairs, or the two parts in one string.
fn merges_of_json(merges: Value) -> Result<Merges> {
    let invalid = |number: usize| {
        let message = format!("model: merge {number}: expected two parts");
        Error::new(ErrorKind::Config, message)
    };
    let Value::Array(merges) = merges else {
        let message = "model: found no list of merges, expected one";
        return Err(Error::new(ErrorKind::Unsupported, message));
    };
    check(HEADROOM + merges.len() * NEEDED_PER_MERGE)?;
    let pairs = merges.into_iter().enumerate().map(|(number, merge)| match merge {
        Value::String(merge) => two_parts(&merge).ok_or_else(|| invalid(number)),
        pair => serde_json::from_value(pair).map_err(|_| invalid(number)),
    });
    pairs.collect()
}

fn two_parts(merge: &str) -> Option<(String, String)> {
    let (first, second) = merge.split_once(' ')?;
    (!second.contains(' ')).then(|| (first.to_owned(), second.to_owned()))
}

/// A pair a line, the first part and the second. Lines that begin with `#version` are none.
fn read_merges(text: &[u8]) -> Result<Merges> {
    let invalid = |message: String| Error::new(ErrorKind::Config, message);
    let text = std::str::from_utf8(text).map_err(|error| invalid(error.to_string()))?;
    check(HEADROOM + text.lines().count() * NEEDED_PER_MERGE)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with("#version"));
    let pairs = lines.map(|(number, line)| {
        let parts = two_parts(line);
        parts.ok_or_else(|| invalid(format!("line {}: expected two parts", number + 1)))
    });
    pairs.collect()
}

fn build(
    vocab: Vocabulary,
    merges: Merges,
    extras: Extras,
    assets: &Assets,
    settings: &Settings,
) -> Result<Tokenizer> {
    let model = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .continuing_subword_prefix(String::new())
        .end_of_word_suffix(String::new())
        .build()
        .map_err(failed)?;
    let prefix = settings.flag("add_prefix_space")?.unwrap_or(false);
    let trim = settings.flag("trim_offsets")?.unwrap_or(true);
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(prefix)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    tokenizer.with_padding(extras.padding);
    tokenizer.with_truncation(extras.truncation).map_err(failed)?;
    let tokens = settings.added_tokens(assets, extras.added_tokens, None, &tokenizer)?;
    tokenizer.add_tokens(tokens).map_err(failed)?;
    let [cls, sep] = settings.end_tokens(["cls_token", "sep_token"], &tokenizer)?;
    let processing = RobertaProcessing::new(sep, cls).trim_offsets(trim).add_prefix_space(prefix);
    tokenizer.with_post_processor(Some(processing));
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn merges_are_pairs() {
        let pairs = [("a", "b"), ("ab", "c")];
        let pairs = pairs.map(|(first, second)| (first.to_owned(), second.to_owned()));
        assert_eq!(read_merges(b"#version: 0.2\na b\nab c\n").unwrap(), pairs);
        assert_eq!(merges_of_json(json!(["a b", ["ab", "c"]])).unwrap(), pairs);
        // transformers would make them up of the vocabulary.
        let error = merges_of_json(Value::Null).unwrap_err().to_string();
        assert!(error.contains("found no list of merges"), "{error}");
        for wrong in [json!(["a b", "ab"]), json!([["a"]]), json!([1])] {
            let error = merges_of_json(wrong).unwrap_err().to_string();
            assert!(error.starts_with("model: merge "), "{error}");
        }
        for (text, words) in
            [(&b"a b\nabc\n"[..], "line 2: expected"), (b"a b c\n", "line 1"), (b"\xff", "utf-8")]
        {
            let error = read_merges(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
