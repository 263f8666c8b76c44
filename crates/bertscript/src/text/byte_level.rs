//! Byte-level BPE, Radford et al. 2019: the tokenizer of RoBERTa.
//!
//! Source: `RobertaTokenizer`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/roberta/tokenization_roberta.py>

use super::charsmap;
use super::settings::Settings;
use super::vocab::failed;
use crate::assets::Assets;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{HEADROOM, check};
use ahash::AHashMap;
use serde::Deserialize;
use serde_json::{Value, json};
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, PaddingParams, Tokenizer, TruncationParams};

/// Builds the tokenizer of `tokenizer.json`, or else of `vocab.json` and `merges.txt`. Of the
/// first, the vocabulary and the merges count; all of it must be well-formed.
pub(super) fn from_files(assets: &Assets, settings: &Settings) -> Result<Tokenizer> {
    let files = ["tokenizer.json", "vocab.json", "merges.txt"];
    match files.map(|name| assets.get(name)) {
        [Some(text), ..] => {
            let parts = Parts::from_json(text).map_err(|error| error.at(files[0]))?;
            build(parts, assets, settings)
        }
        [None, Some(vocab), Some(merges)] => {
            let vocab =
                serde_json::from_slice(vocab).map_err(|error| failed(error.into()).at(files[1]))?;
            let merges = read_merges(merges).map_err(|error| error.at(files[2]))?;
            build(Parts { vocab, merges, ..Parts::default() }, assets, settings)
        }
        _ => {
            let expected =
                "no tokenizer is here: neither tokenizer.json nor vocab.json and merges.txt";
            Err(Error::new(ErrorKind::Unsupported, expected))
        }
    }
}

/// What the tokenizer takes of its files.
#[derive(Default)]
struct Parts {
    vocab: AHashMap<String, u32>,
    merges: Vec<(String, String)>,
    added_tokens: Vec<(u64, AddedToken)>,
    padding: Option<PaddingParams>,
    truncation: Option<TruncationParams>,
}

/// What a merge takes in memory while a tokenizer is built, about.
const NEEDED_PER_MERGE: usize = 256;

impl Parts {
    fn from_json(text: &[u8]) -> Result<Self> {
        let invalid = |error: serde_json::Error| failed(error.into());
        let mut file: Value = serde_json::from_slice(text).map_err(invalid)?;
        charsmap::check(&file)?;
        let model = file.get_mut("model").and_then(Value::as_object_mut);
        let model = model.ok_or_else(|| failed("expected a model".into()))?;
        // Old files do not name it.
        if let Some(kind) = model.get("type").filter(|kind| *kind != "BPE") {
            let kind = kind.as_str().filter(|kind| kind.len() <= SHOWN).unwrap_or("another one");
            let message =
                format!("model: found {kind:?}, expected \"BPE\", of which RobertaTokenizer is");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let vocab = model.remove("vocab").unwrap_or_default();
        let merges = model.remove("merges").unwrap_or_default();
        let vocab = serde_json::from_value(vocab).map_err(invalid)?;
        let merges = merges_of_json(merges)?;
        let added_tokens =
            added_tokens(&file.get_mut("added_tokens").map(Value::take).unwrap_or_default())?;
        // The rest must be well-formed.
        file["model"] = json!({"type": "BPE", "vocab": {}, "merges": []});
        file["added_tokens"] = json!([]);
        let rest = Tokenizer::from_bytes(file.to_string()).map_err(failed)?;
        let (padding, truncation) = (rest.get_padding().cloned(), rest.get_truncation().cloned());
        Ok(Self { vocab, merges, added_tokens, padding, truncation })
    }
}

/// How much of a file a message shows, in bytes.
const SHOWN: usize = 64;

/// Pairs, or the two parts in one string.
fn merges_of_json(merges: Value) -> Result<Vec<(String, String)>> {
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
fn read_merges(text: &[u8]) -> Result<Vec<(String, String)>> {
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

fn build(parts: Parts, assets: &Assets, settings: &Settings) -> Result<Tokenizer> {
    let model = BPE::builder()
        .vocab_and_merges(parts.vocab, parts.merges)
        .continuing_subword_prefix(String::new())
        .end_of_word_suffix(String::new())
        .build()
        .map_err(failed)?;
    let prefix = settings.flag("add_prefix_space")?.unwrap_or(false);
    let trim = settings.flag("trim_offsets")?.unwrap_or(true);
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(prefix)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    tokenizer.with_padding(parts.padding);
    tokenizer.with_truncation(parts.truncation).map_err(failed)?;
    let tokens = settings.added_tokens(assets, parts.added_tokens, &tokenizer)?;
    tokenizer.add_tokens(tokens).map_err(failed)?;
    let [cls, sep] = ["cls_token", "sep_token"].map(|role| {
        let token = settings.required_token(role)?;
        let id = tokenizer.token_to_id(&token).unwrap_or(0);
        Ok::<_, Error>((token, id))
    });
    let processing = RobertaProcessing::new(sep?, cls?).trim_offsets(trim).add_prefix_space(prefix);
    tokenizer.with_post_processor(Some(processing));
    Ok(tokenizer)
}

/// The tokens that `tokenizer.json` adds, with their ids.
pub(super) fn added_tokens(list: &Value) -> Result<Vec<(u64, AddedToken)>> {
    let tokens = list.as_array().into_iter().flatten().map(|token| {
        let id = token["id"].as_u64();
        let id = id.ok_or_else(|| failed("added_tokens: found a token without an id".into()))?;
        Ok((id, AddedToken::deserialize(token).map_err(|error| failed(error.into()))?))
    });
    tokens.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
