//! The character map of a `Precompiled` normalizer, as SentencePiece writes it: the size of a
//! trie, the trie, and texts.

use crate::error::{Error, ErrorKind, Result};
use serde_json::Value;

/// Refuses a tokenizer whose normalizer says that its trie is larger than the map that it is
/// in: the tokenizers crate would ask for as much memory, and a process ends that cannot get it.
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
    let Some((size, rest)) = map.split_first_chunk() else { return Ok(()) };
    let (found, most) = (u32::from_le_bytes(*size) as usize, rest.len());
    if found <= most {
        return Ok(());
    }
    let message = format!(
        "precompiled_charsmap: found a trie of {found} bytes, expected at most the {most} of the map"
    );
    Err(Error::new(ErrorKind::Config, message))
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
}
