//! What makes scores of logits, and what is put before the first text, where the checkpoint
//! says it.
//!
//! Source: `CrossEncoder`, <https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/cross_encoder/model.py>

use crate::activation::Activation;
use crate::assets::Assets;
use crate::checkpoint::MODULES_FILE;
use crate::error::{Error, ErrorKind, Result};
use serde_json::{Map, Value};

const MODEL: &str = "config.json";
const SETTINGS: &str = "config_sentence_transformers.json";
const ACTIVATION: &str = "activation_fn";
const OLD_ACTIVATION: &str = "sbert_ce_default_activation_function";

/// The default prompt of a cross-encoder; empty without one.
pub(super) fn prompt(assets: &Assets) -> Result<String> {
    let settings: Map<String, Value> = assets.json(SETTINGS)?.unwrap_or_default();
    if !is_cross_encoder(&settings) || assets.get(MODULES_FILE).is_none() {
        return Ok(String::new());
    }
    let name = settings.get("default_prompt_name").and_then(Value::as_str);
    let prompt = name.and_then(|name| settings.get("prompts")?.get(name)?.as_str());
    Ok(prompt.unwrap_or_default().to_owned())
}

fn is_cross_encoder(settings: &Map<String, Value>) -> bool {
    settings.get("model_type").and_then(Value::as_str) == Some("CrossEncoder")
}

/// The activation of a cross-encoder, if the files are one's.
pub(super) fn activation(assets: &Assets, labels: usize) -> Result<Option<Activation>> {
    let read = |name| -> Result<Map<String, Value>> { Ok(assets.json(name)?.unwrap_or_default()) };
    let (model, settings) = (read(MODEL)?, read(SETTINGS)?);
    let is_type = is_cross_encoder(&settings);
    let saved = match model.get("sentence_transformers") {
        None => None,
        Some(Value::Object(saved)) => Some(saved),
        Some(other) => return Err(found(MODEL, "sentence_transformers", other, "an object")),
    };
    let old = model.get(OLD_ACTIVATION);
    if !is_type && !settings.contains_key(ACTIVATION) && saved.is_none() && old.is_none() {
        return Ok(None);
    }
    // Without modules.json, or with that of another type, upstream does not read them.
    let settings = settings
        .get(ACTIVATION)
        .filter(|path| is_type && assets.get(MODULES_FILE).is_some() && !path.is_null());
    let (file, key, path) = match (settings, saved.and_then(|saved| saved.get(ACTIVATION))) {
        (Some(path), _) => (SETTINGS, ACTIVATION, Some(path)),
        (None, Some(path)) => (MODEL, ACTIVATION, Some(path)),
        (None, None) => (MODEL, OLD_ACTIVATION, old),
    };
    match path {
        Some(Value::String(path)) => Activation::from_torch_class(path)
            .map(Some)
            .map_err(|error| error.at(format!("{file}: {key}"))),
        None | Some(Value::Null) if labels == 1 => Ok(Some(Activation::Sigmoid)),
        None | Some(Value::Null) => Ok(Some(Activation::Linear)),
        Some(other) => Err(found(file, key, other, "the path of a class")),
    }
}

fn found(file: &str, key: &str, found: &Value, expected: &str) -> Error {
    let message = format!("{key}: found {found}, expected {expected}");
    Error::new(ErrorKind::Config, message).at(file)
}
