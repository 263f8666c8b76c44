//! The base of rotary position embeddings, and what of them is refused.
//!
//! Source: `RotaryEmbeddingConfigMixin`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/modeling_rope_utils.py>

use super::keys::{Keys, invalid};
use super::spec::Encoder;
use crate::error::Result;

/// transformers 5 has it in `rope_parameters`, where layers of a type may have an object of their
/// own; older files in a key, `old_key`.
pub(super) fn theta(
    keys: &Keys,
    layer_type: Option<&str>,
    old_key: &str,
    default: f64,
) -> Result<f64> {
    keys.expect_empty("rope_scaling", "null")?;
    keys.expect("partial_rotary_factor", 1.)?;
    let all = keys.object("rope_parameters")?;
    let own = match (&all, layer_type) {
        (Some(all), Some(layer_type)) => all.object(layer_type)?,
        _ => None,
    };
    let Some(parameters) = own.or(all) else { return base(keys, old_key, default) };
    parameters.expect("rope_type", "default")?;
    parameters.expect("type", "default")?;
    parameters.expect("partial_rotary_factor", 1.)?;
    match parameters.value("rope_theta") {
        Some(_) => base(&parameters, "rope_theta", default),
        None => base(keys, old_key, default),
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
