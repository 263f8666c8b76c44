//! The character map of a `Precompiled` normalizer, as SentencePiece writes it: the size of a
//! trie, the trie, and texts.

use crate::error::{Error, ErrorKind, Result};
use serde_json::Value;
use tokenizers::normalizers::Precompiled;

/// The longest text that a character may become, in bytes: Unicode's longest has 33.
pub(super) const MAX_MAPPED_BYTES: usize = 48;

/// Refuses a tokenizer whose normalizer says that its trie is larger than the map that it is
/// in: the tokenizers crate would ask for as much memory, and a process ends that cannot get it.
/// Refuses one, too, that makes more of a character than Unicode does, or whose trie leads
/// outside of the map.
pub(super) fn check(tokenizer: &Value) -> Result<()> {
    tokenizer.get("normalizer").map_or(Ok(()), check_normalizer)
}

fn check_normalizer(normalizer: &Value) -> Result<()> {
    match normalizer {
        Value::Object(entries) => entries.iter().try_for_each(|(key, value)| match value {
            Value::String(map) if key == "precompiled_charsmap" => check_map(map),
            _ => check_normalizer(value),
        }),
        Value::Array(items) => items.iter().try_for_each(check_normalizer),
        _ => Ok(()),
    }
}

fn check_map(map: &str) -> Result<()> {
    // What is malformed is refused by the tokenizers crate, before it looks at the size.
    let Ok(map) = base64::decode(map) else { return Ok(()) };
    check_bytes(&map)
}

fn check_bytes(map: &[u8]) -> Result<()> {
    let Some((size, rest)) = map.split_first_chunk() else { return Ok(()) };
    let (found, most) = (u32::from_le_bytes(*size) as usize, rest.len());
    if found > most {
        let message =
            format!("found a trie of {found} bytes, expected at most the {most} of the map");
        return Err(invalid(message));
    }
    // A trie of whole numbers; what is left of it is read as text.
    let (trie, texts) = rest.split_at(found / 4 * 4);
    let units = trie.as_chunks().0;
    if units.is_empty() {
        return Err(invalid("found an empty trie, expected at least one unit".to_owned()));
    }
    units.iter().enumerate().try_for_each(|(index, unit)| {
        check_unit(index, u32::from_le_bytes(*unit) as usize, units, texts)
    })?;
    match texts.split(|byte| *byte == 0).map(<[u8]>::len).max() {
        Some(found) if found > MAX_MAPPED_BYTES => {
            let message = format!(
                "found a character that becomes {found} bytes, expected at most {MAX_MAPPED_BYTES}"
            );
            Err(invalid(message))
        }
        _ => Ok(()),
    }
}

/// Refuses a unit of a double array (Darts-clone's, <https://github.com/s-yata/darts-clone>)
/// whose children or text are outside of the map: the tokenizers crate looks them up unchecked,
/// and panics at the first text that leads there.
fn check_unit(index: usize, unit: usize, units: &[[u8; 4]], texts: &[u8]) -> Result<()> {
    // No lookup comes to a unit with this bit, which is an offset in the texts, but to the first.
    const IS_TEXT: usize = 1 << 31;
    if index > 0 && unit & IS_TEXT != 0 {
        return Ok(());
    }
    let shift = (unit & 1 << 9) >> 6;
    let children = index ^ (unit >> 10) << shift;
    // A child for each byte.
    let last = children | 0xff;
    if last >= units.len() {
        let message = format!(
            "unit {index} of the trie: found children up to {last}, expected less than {}",
            units.len()
        );
        return Err(invalid(message));
    }
    let has_text = unit >> 8 & 1 == 1;
    let offset = u32::from_le_bytes(units[children]) as usize & !IS_TEXT;
    // Between characters, as a string is sliced there.
    let is_char = |byte: &u8| !(0x80..0xc0).contains(byte);
    if has_text && offset != texts.len() && !texts.get(offset).is_some_and(is_char) {
        let message = format!(
            "unit {index} of the trie: found a text at {offset}, expected the start of a \
             character in {} bytes",
            texts.len()
        );
        return Err(invalid(message));
    }
    Ok(())
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Config, format!("precompiled_charsmap: {message}"))
}

/// The normalizer of a map.
pub(super) fn precompiled(map: &[u8]) -> Result<Precompiled> {
    check_bytes(map)?;
    Precompiled::from(map).map_err(|error| invalid(error.to_string()))
}

/// The map that the tokenizer classes of transformers take of a normalizer in `tokenizer.json`:
/// one that is nested deeper does not count.
pub(super) fn taken_from(normalizer: &Value) -> Result<Option<Precompiled>> {
    let is =
        |normalizer: &Value, kind: &str| normalizer.get("type").is_some_and(|found| found == kind);
    let all = match normalizer.get("normalizers") {
        Some(Value::Array(all)) if is(normalizer, "Sequence") => all,
        _ => std::slice::from_ref(normalizer),
    };
    let mut maps = all.iter().filter(|normalizer| is(normalizer, "Precompiled"));
    let map = maps.find_map(|normalizer| normalizer.get("precompiled_charsmap")?.as_str());
    let map = map.map(|map| base64::decode(map).map_err(|error| invalid(error.to_string())));
    map.map(|map| precompiled(&map?)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assets::Assets;
    use crate::text::Tokenizer;
    use serde_json::json;

    /// A map whose trie has 256 units, all zero but these.
    fn map(units: &[(usize, u32)], texts: &[u8]) -> Vec<u8> {
        let mut trie = [0; 256];
        units.iter().for_each(|(index, unit)| trie[*index] = *unit);
        let numbers = [1024].into_iter().chain(trie);
        numbers.flat_map(u32::to_le_bytes).chain(texts.iter().copied()).collect()
    }

    #[test]
    fn a_trie_is_no_larger_than_its_map() {
        let of = |map: &[u8]| {
            let normalizer =
                json!({"type": "Precompiled", "precompiled_charsmap": base64::encode(map)});
            let nested = json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, normalizer]});
            [normalizer, nested].map(|normalizer| check(&json!({"normalizer": normalizer})))
        };
        for map in [&map(&[], b"")[..], &map(&[], b"abc\0"), &[255; 3]] {
            of(map).into_iter().for_each(|result| result.unwrap());
        }
        for result in of(&[1, 0, 0, 0]) {
            let message =
                "precompiled_charsmap: found a trie of 1 bytes, expected at most the 0 of the map";
            assert_eq!(result.unwrap_err().to_string(), message);
        }
        for result in of(&[255, 255, 255, 255, 1, 2, 3, 4, 5, 6, 7, 8]) {
            let message = "precompiled_charsmap: found a trie of 4294967295 bytes, expected at most the 8 of the map";
            assert_eq!(result.unwrap_err().to_string(), message);
        }
        assert!(check(&json!({"normalizer": null})).is_ok());
        assert!(check(&json!({"normalizer": {"precompiled_charsmap": "AAA"}})).is_ok());
    }

    #[test]
    fn a_character_becomes_no_more_than_unicode_makes_of_it() {
        let with = |length: usize| map(&[], &[&vec![b'a'; length][..], b"\0b\0"].concat());
        assert!(check_bytes(&with(MAX_MAPPED_BYTES)).is_ok());
        let error = precompiled(&with(MAX_MAPPED_BYTES + 1)).unwrap_err().to_string();
        let message =
            "precompiled_charsmap: found a character that becomes 49 bytes, expected at most 48";
        assert_eq!(error, message);
    }

    #[test]
    fn a_lookup_stays_in_the_trie_and_its_texts() {
        // The children of the root are units 256 to 511, and a is the letter there.
        let two_blocks = |root: u32, unit: u32, text: u32, texts: &[u8]| {
            let mut trie = vec![0_u32; 512];
            (trie[0], trie[256 + 97], trie[256]) = (root, unit, 1 << 31 | text);
            let numbers = [2048].into_iter().chain(trie);
            let numbers: Vec<u8> = numbers.flat_map(u32::to_le_bytes).collect();
            [&numbers, texts].concat()
        };
        let (root, a) = (256 << 10, 97 << 10 | 1 << 8 | 97);
        let texts = "\u{e9}\0b\0".as_bytes();
        for (offset, text) in [(0, "\u{e9}"), (2, ""), (3, "b"), (5, "")] {
            let map = precompiled(&two_blocks(root, a, offset, texts)).unwrap();
            assert_eq!(map.transform("a"), Some(text), "{offset}");
            assert_eq!(map.transform("\u{10ffff}"), None);
        }
        let words = "unit 353 of the trie: found a text at";
        for offset in [1, 6, u32::MAX >> 1] {
            let error = check_bytes(&two_blocks(root, a, offset, texts)).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        for (root, a, words) in [
            (512 << 10, 0, "unit 0 of the trie: found children up to 767, expected less than 512"),
            (u32::MAX, 0, "unit 0 of the trie: found children up to"),
            (root, 353 << 10 | 512 << 10, "unit 353 of the trie: found children up to 767"),
            (root, 1 << 9 | 2 << 10, "unit 353 of the trie: found children up to 1023"),
        ] {
            let error = check_bytes(&two_blocks(root, a, 0, b"")).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn an_empty_trie_is_refused_with_file_and_field() {
        let empty = [0; 4];
        let normalizer =
            json!({"type": "Precompiled", "precompiled_charsmap": base64::encode(empty)});
        let model = json!({"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0]]});
        let json = json!({"version": "1.0", "added_tokens": [], "normalizer": normalizer,
            "pre_tokenizer": null, "post_processor": null, "decoder": null, "model": model});
        // A piece, and the map.
        let spm = [&b"\x0a\x07\x0a\x05<unk>\x1a\x06\x12\x04"[..], &empty].concat();
        for (name, file, class) in [
            ("tokenizer.json", json.to_string().into_bytes(), "PreTrainedTokenizerFast"),
            ("tokenizer.json", json.to_string().into_bytes(), "DebertaV2Tokenizer"),
            ("spm.model", spm, "DebertaV2Tokenizer"),
        ] {
            let config = json!({"tokenizer_class": class}).to_string().into_bytes();
            let files = [(name.to_owned(), file), ("tokenizer_config.json".to_owned(), config)];
            let error = Tokenizer::from_assets(&files.into_iter().collect::<Assets>());
            let message = format!(
                "{name}: precompiled_charsmap: found an empty trie, expected at least one unit"
            );
            assert_eq!(error.unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_class_takes_the_map_that_is_not_nested_deeper() {
        let map =
            json!({"type": "Precompiled", "precompiled_charsmap": base64::encode(map(&[], b""))});
        let sequence =
            |inner: &Value| json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, inner]});
        let once = sequence(&map);
        for (normalizer, has_map) in
            [(&map, true), (&once, true), (&sequence(&once), false), (&json!(null), false)]
        {
            assert_eq!(taken_from(normalizer).unwrap().is_some(), has_map, "{normalizer}");
        }
    }
}
