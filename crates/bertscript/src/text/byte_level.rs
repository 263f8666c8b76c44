//! Byte-level BPE, Radford et al. 2019: the tokenizer of RoBERTa.
//!
//! Source: `RobertaTokenizer`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/roberta/tokenization_roberta.py>

use super::charsmap;
use super::settings::Settings;
use super::vocab::failed;
use crate::assets::Assets;
use crate::error::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, Tokenizer};

/// Builds the tokenizer of `tokenizer.json`, or else of `vocab.json` and `merges.txt`. Of the
/// first, the vocabulary and the merges count; all of it must be well-formed.
pub(super) fn from_files(assets: &Assets, settings: &Settings) -> Result<Tokenizer> {
    let parse = |text: &[u8]| -> Result<Value> {
        serde_json::from_slice(text).map_err(|error| failed(error.into()))
    };
    let files = ["tokenizer.json", "vocab.json", "merges.txt"];
    match files.map(|name| assets.get(name)) {
        [Some(text), ..] => {
            let tokenizer = parse(text).and_then(|file| build(file, assets, settings));
            tokenizer.map_err(|error| match error.place() {
                None => error.at(files[0]),
                Some(_) => error,
            })
        }
        [None, Some(vocab), Some(merges)] => {
            let vocab = parse(vocab).map_err(|error| error.at(files[1]))?;
            let merges = read_merges(merges).map_err(|error| error.at(files[2]))?;
            let model = json!({"type": "BPE", "vocab": vocab, "merges": merges});
            build(json!({"version": "1.0", "model": model}), assets, settings)
        }
        _ => {
            let expected =
                "no tokenizer is here: neither tokenizer.json nor vocab.json and merges.txt";
            Err(Error::new(ErrorKind::Unsupported, expected))
        }
    }
}

/// A pair a line, the first part and the second. Lines that begin with `#version` are none.
fn read_merges(text: &[u8]) -> Result<Vec<[&str; 2]>> {
    let invalid = |message: String| Error::new(ErrorKind::Config, message);
    let text = std::str::from_utf8(text).map_err(|error| invalid(error.to_string()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with("#version"));
    let pairs = lines.map(|(number, line)| match line.split_once(' ') {
        Some((first, second)) if !second.contains(' ') => Ok([first, second]),
        _ => {
            let message = format!("line {}: found {line:?}, expected two parts", number + 1);
            Err(invalid(message))
        }
    });
    pairs.collect()
}

fn build(mut file: Value, assets: &Assets, settings: &Settings) -> Result<Tokenizer> {
    charsmap::check(&file)?;
    let model = file.get_mut("model").and_then(Value::as_object_mut);
    let model = model.ok_or_else(|| failed("expected a model".into()))?;
    // Old files do not name it.
    if let Some(kind) = model.get("type").filter(|kind| *kind != "BPE") {
        let message =
            format!("model: found {kind}, expected \"BPE\", of which RobertaTokenizer is");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    for (key, value) in [
        ("type", json!("BPE")),
        ("dropout", json!(null)),
        ("unk_token", json!(null)),
        ("continuing_subword_prefix", json!("")),
        ("end_of_word_suffix", json!("")),
        ("fuse_unk", json!(false)),
        ("byte_fallback", json!(false)),
        ("ignore_merges", json!(false)),
    ] {
        model.insert(key.to_owned(), value);
    }
    let prefix = settings.flag("add_prefix_space")?.unwrap_or(false);
    let trim = settings.flag("trim_offsets")?.unwrap_or(true);
    let byte_level = |prefix: bool| {
        json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true,
            "use_regex": true})
    };
    let added = file.get_mut("added_tokens").map(Value::take).unwrap_or_default();
    let added = added_tokens(&added)?;
    for (key, value) in [
        ("added_tokens", json!([])),
        ("normalizer", json!(null)),
        ("pre_tokenizer", byte_level(prefix)),
        ("decoder", byte_level(true)),
        ("post_processor", json!(null)),
    ] {
        file[key] = value;
    }
    let mut tokenizer = Tokenizer::from_bytes(file.to_string()).map_err(failed)?;
    let tokens = settings.added_tokens(assets, added, &tokenizer)?;
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
    fn lines_are_pairs() {
        let merges = read_merges(b"#version: 0.2\na b\nab c\n").unwrap();
        assert_eq!(merges, [["a", "b"], ["ab", "c"]]);
        for (text, words) in [
            (&b"a b\nabc\n"[..], "line 2: found \"abc\""),
            (b"a b c\n", "line 1"),
            (b"\xff", "utf-8"),
        ] {
            let error = read_merges(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
