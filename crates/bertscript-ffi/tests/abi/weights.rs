//! Weights that no model can have.

use crate::{fixture, refused};
use bertscript_ffi::*;
use std::ffi::{CStr, CString};
use std::ptr::null_mut;

/// What comes of a checkpoint whose weight file was changed: its bytes, and where the first
/// word embedding stands.
fn of_changed_weights(
    change: impl FnOnce(&mut Vec<u8>, usize),
    dtype: Option<&CStr>,
) -> (bertscript_status, String) {
    let folder = tempfile::tempdir().unwrap();
    let directory = fixture("text/sentence");
    for entry in std::fs::read_dir(directory.to_str().unwrap()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
    }
    let weights = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..data]).unwrap();
    let offset = &header["embeddings.word_embeddings.weight"]["data_offsets"][0];
    change(&mut bytes, data + offset.as_u64().unwrap() as usize);
    std::fs::write(&weights, bytes).unwrap();
    let path = CString::new(folder.path().to_str().unwrap()).unwrap();
    let options = bertscript_build_options_new();
    if let Some(dtype) = dtype {
        let set =
            unsafe { bertscript_build_options_set_dtype(options, dtype.as_ptr(), null_mut()) };
        assert_eq!(set, BERTSCRIPT_OK);
    }
    let found = refused(|out, err| unsafe {
        bertscript_model_from_pretrained(path.as_ptr(), options, out, err)
    });
    unsafe { bertscript_build_options_free(options) };
    found
}

#[test]
fn words_of_messages_are_torchs() {
    let (status, message) = of_changed_weights(
        |bytes, _| {
            let at = bytes.windows(5).position(|word| word == b"\"F32\"").unwrap();
            bytes[at..at + 5].copy_from_slice(b"\"I32\"");
        },
        None,
    );
    assert_eq!(status, BERTSCRIPT_CORRUPT, "{message}");
    assert!(message.contains("expected a floating-point tensor, found int32 in "), "{message}");
}

#[test]
fn weights_that_are_not_finite_are_told_as_such() {
    let set = |value: f32| {
        move |bytes: &mut Vec<u8>, at: usize| {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes())
        }
    };
    let parameter = "embeddings.word_embeddings.weight: found ";
    for (value, dtype, status, expected) in [
        (f32::NAN, None, BERTSCRIPT_CORRUPT, "NaN in "),
        (f32::NAN, Some(c"float16"), BERTSCRIPT_CORRUPT, "NaN in "),
        (f32::NEG_INFINITY, None, BERTSCRIPT_CORRUPT, "an infinite value in "),
        (-1e5, Some(c"float16"), BERTSCRIPT_UNSUPPORTED, "-1e5 in "),
    ] {
        let (found, message) = of_changed_weights(set(value), dtype);
        assert_eq!(found, status, "{message}");
        assert!(message.contains(&format!("{parameter}{expected}")), "{message}");
    }
    let (_, message) = of_changed_weights(set(70_000.), Some(c"float16"));
    assert!(message.ends_with("which is more than float16 holds"), "{message}");
}
