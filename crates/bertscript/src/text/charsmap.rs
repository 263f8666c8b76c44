//! The character map of a `Precompiled` normalizer, as SentencePiece writes it: the size of a
//! trie, the trie, and texts.

use crate::error::{Error, ErrorKind, Result};
use serde_json::Value;
use tokenizers::normalizers::Precompiled;

/// The longest text that a character may become, in bytes: Unicode's longest has 33.
pub(super) const MAX_MAPPED_BYTES: usize = 48;

/// Refuses a tokenizer whose normalizer says that its trie is larger than the map that it is
/// in: the tokenizers crate would ask for as much memory, and a process ends that cannot get it.
/// Refuses one, too, that makes more of a character than Unicode does.
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
    let texts = rest[found / 4 * 4..].split(|byte| *byte == 0);
    match texts.map(<[u8]>::len).max() {
        Some(found) if found > MAX_MAPPED_BYTES => {
            let message = format!(
                "found a character that becomes {found} bytes, expected at most {MAX_MAPPED_BYTES}"
            );
            Err(invalid(message))
        }
        _ => Ok(()),
    }
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
    use serde_json::json;

    #[test]
    fn a_trie_is_no_larger_than_its_map() {
        let of = |map: &[u8]| {
            let normalizer =
                json!({"type": "Precompiled", "precompiled_charsmap": base64::encode(map)});
            let nested = json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, normalizer]});
            [normalizer, nested].map(|normalizer| check(&json!({"normalizer": normalizer})))
        };
        for map in [&[8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0][..], &[0, 0, 0, 0], &[255; 3]] {
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
        let map = |length: usize| [&[0, 0, 0, 0][..], &vec![b'a'; length], b"\0b\0"].concat();
        assert!(check_bytes(&map(MAX_MAPPED_BYTES)).is_ok());
        let error = precompiled(&map(MAX_MAPPED_BYTES + 1)).unwrap_err().to_string();
        let message =
            "precompiled_charsmap: found a character that becomes 49 bytes, expected at most 48";
        assert_eq!(error, message);
    }

    #[test]
    fn a_class_takes_the_map_that_is_not_nested_deeper() {
        let map = json!({"type": "Precompiled", "precompiled_charsmap": base64::encode([0; 5])});
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
