//! The base of rotary position embeddings, and what of them is refused.
//!
//! Source: `RotaryEmbeddingConfigMixin`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/modeling_rope_utils.py>

use super::keys::{Keys, invalid};
use super::spec::Encoder;
use crate::error::{Error, Result};

/// transformers 5 has it in `rope_parameters`, where layers of a type may have an object of their
/// own; older files in a key, `old_key`.
pub(super) fn theta(
    keys: &Keys,
    layer_type: Option<&str>,
    old_key: &str,
    default: f64,
) -> Result<f64> {
    if let Some(scaling) = keys.object("rope_scaling")? {
        scaling.expect_default("rope_scaling")?;
    }
    keys.expect("partial_rotary_factor", 1.)?;
    let mut parameters = keys.object("rope_parameters")?;
    if let (Some(all), Some(layer_type)) = (&parameters, layer_type) {
        for key in ["rope_type", "type", "rope_theta"] {
            all.expect_empty(key, "one object for each type of layer")?;
        }
        parameters = all.object(layer_type)?;
    }
    let Some(parameters) = parameters else { return base(keys, old_key, default) };
    parameters.expect_default("rope_parameters")?;
    match parameters.value("rope_theta") {
        Some(_) => base(&parameters, "rope_theta", default),
        None => base(keys, old_key, default),
    }
}

impl Keys {
    /// Refuses angles that are scaled.
    fn expect_default(&self, key: &str) -> Result<()> {
        let of_key = |error: Error| error.at(key);
        self.expect("rope_type", "default").map_err(of_key)?;
        self.expect("type", "default").map_err(of_key)?;
        self.expect("partial_rotary_factor", 1.).map_err(of_key)?;
        self.expect_empty("factor", "null").map_err(of_key)
    }
}

fn base(keys: &Keys, key: &str, default: f64) -> Result<f64> {
    match keys.float(key, default)? {
        0. => Err(invalid(key, "found 0, expected a number above 0")),
        theta => Ok(theta),
    }
}

/// Heads are rotated in halves.
pub(super) fn check_halves(encoder: &Encoder, heads_key: &str) -> Result<()> {
    let found = encoder.head_dim();
    match found % 2 {
        0 => Ok(()),
        _ => Err(invalid(heads_key, &format!("heads of {found} values, expected an even number"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn theta_of(text: &str, layer_type: Option<&str>) -> Result<f64> {
        theta(&Keys::from_json(text.as_bytes()).unwrap(), layer_type, "old_theta", 7.)
    }

    #[test]
    fn every_spelling_of_a_base_is_read() {
        let full = Some("full_attention");
        for (text, layer_type, expected) in [
            ("{}", None, 7.),
            (r#"{"old_theta": 3}"#, None, 3.),
            (r#"{"rope_parameters": {"rope_type": "default", "rope_theta": 5}}"#, None, 5.),
            (r#"{"rope_parameters": {"rope_type": "default"}, "old_theta": 3}"#, None, 3.),
            (r#"{"rope_scaling": {"rope_type": "default"}}"#, None, 7.),
            (r#"{"rope_scaling": null, "rope_parameters": null, "old_theta": 3}"#, full, 3.),
            (r#"{"rope_parameters": {"full_attention": {"rope_theta": 5}}}"#, full, 5.),
            (r#"{"rope_parameters": {"full_attention": null}, "old_theta": 3}"#, full, 3.),
        ] {
            assert_eq!(theta_of(text, layer_type).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn angles_that_are_scaled_are_refused_by_name() {
        let full = Some("full_attention");
        for (text, layer_type, words) in [
            (
                r#"{"rope_scaling": {"type": "ntk", "factor": 8}}"#,
                None,
                r#"rope_scaling: type: found "ntk""#,
            ),
            (
                r#"{"rope_parameters": {"rope_type": "yarn"}}"#,
                None,
                r#"rope_parameters: rope_type: found "yarn""#,
            ),
            (
                r#"{"rope_parameters": {"rope_theta": 5}}"#,
                full,
                "rope_theta: found 5, but only one object",
            ),
            (r#"{"partial_rotary_factor": 0.5}"#, None, "partial_rotary_factor: found 0.5"),
            (r#"{"old_theta": 0}"#, None, "old_theta: found 0"),
        ] {
            let error = theta_of(text, layer_type).unwrap_err().to_string();
            assert!(error.starts_with(words), "{error}");
        }
    }
}
