//! DeBERTa in its second and third versions, He et al. 2020 and 2021,
//! <https://arxiv.org/abs/2006.03654> and <https://arxiv.org/abs/2111.09543>: BERT whose attention
//! knows positions by the distances of tokens.
//!
//! Source: <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/deberta_v2/modeling_deberta_v2.py>,
//! and `configuration_deberta_v2.py` beside it

use super::bert::{self, Defaults};
use super::keys::{Keys, MAX_ROWS, invalid, unsupported};
use super::relative_positions::{Disentangled, RelativePositions};
use super::spec::{
    Encoder, Head, Index, LayerNorm, Linear, MaskedTokens, OutputForm, Pooling, Qkv, Transform,
};
use super::{Family, Task, roberta};
use crate::error::Result;
use serde_json::Value;

pub(super) const DEBERTA_V2: Family = Family {
    model_type: "deberta-v2",
    class: "DebertaV2",
    base_prefix: "deberta",
    tasks: roberta::ROBERTA.tasks,
    encoder,
    heads,
    ..bert::BERT
};

const DEFAULTS: Defaults = Defaults {
    vocab_size: 128_100,
    hidden_size: 1536,
    num_layers: 24,
    num_heads: 24,
    intermediate_size: 6144,
    num_types: 0,
    eps: 1e-7,
    ..bert::DEFAULTS
};

/// Positions have no table, which would bound them by the size of a file; attention takes memory by
/// the square of a text's length.
const MAX_POSITIONS: i64 = 1 << 12;
/// Every layer projects two rows for each, at load.
const MAX_POSITION_BUCKETS: i64 = 1 << 10;

/// What the checkpoints of the third version have; those of the second have a convolution beside
/// the first layer, too, which is refused.
fn encoder(keys: &Keys) -> Result<Encoder> {
    keys.require("relative_attention", false, true)?;
    keys.require("share_att_key", false, true)?;
    keys.require("position_biased_input", true, false)?;
    keys.require("conv_kernel_size", 0, 0)?;
    check_terms(keys)?;
    let mut deberta = bert::encoder(keys, &DEFAULTS)?;
    keys.size("max_position_embeddings", DEFAULTS.num_positions, MAX_POSITIONS)?;
    keys.expect("embedding_size", deberta.hidden_size)?;
    keys.expect("attention_head_size", deberta.head_dim())?;
    deberta.embeddings.tables.retain(|table| match table.index {
        Index::Position(_) => false,
        Index::TokenType => table.rows > 0,
        Index::Input | Index::Zero => true,
    });
    deberta.relative_positions = RelativePositions::Disentangled(distances(keys, &deberta)?);
    deberta.masked_tokens = MaskedTokens::Blank;
    for (index, layer) in deberta.layers.iter_mut().enumerate() {
        let name = |part| format!("encoder.layer.{index}.attention.self.{part}_proj");
        layer.qkv = Qkv::Separate(["query", "key", "value"].map(|part| Linear::new(name(part))));
    }
    deberta.pooler = None;
    deberta.has_pooler_output = false;
    Ok(deberta)
}

/// Refuses other products than those of queries and of keys with positions. They are a list, or
/// words between bars.
fn check_terms(keys: &Keys) -> Result<()> {
    let key = "pos_att_type";
    let terms = match keys.value(key) {
        Some(Value::String(words)) => {
            words.to_lowercase().split('|').map(|word| word.trim().to_owned()).collect()
        }
        _ => keys.strings(key)?,
    };
    let has = |term: &str| terms.iter().any(|known| known == term);
    if terms.len() == 2 && has("c2p") && has("p2c") {
        return Ok(());
    }
    Err(unsupported(key, keys.value(key).unwrap_or(&Value::Null), "c2p|p2c"))
}

fn distances(keys: &Keys, deberta: &Encoder) -> Result<Disentangled> {
    let (norm_key, bucket_key) = ("norm_rel_ebd", "position_buckets");
    let norm = match keys.string(norm_key)?.unwrap_or("none") {
        "layer_norm" => Some(LayerNorm::new("encoder.LayerNorm", deberta.eps())),
        "none" => None,
        found => return Err(unsupported(norm_key, &found.into(), "layer_norm or none")),
    };
    let buckets = 4..=MAX_POSITION_BUCKETS;
    let span = keys.number(bucket_key, -1, i64::MIN..=i64::MAX)?;
    if !buckets.contains(&span) {
        let only = format!("{} to {}", buckets.start(), buckets.end());
        return Err(unsupported(bucket_key, &span.into(), &only));
    }
    let (key, exact) = ("max_relative_positions", span / 2);
    let max_distance = match keys.number(key, -1, -1..=MAX_ROWS)? {
        none if none < 1 => deberta.max_length,
        most => most,
    };
    let has_farther = deberta.max_length - 1 > exact;
    if has_farther && max_distance <= exact + 1 {
        let least = exact + 1;
        let message = format!(
            "found {max_distance}, expected more than {least}, half of {bucket_key} and one"
        );
        return Err(invalid(key, &message));
    }
    Ok(Disentangled { name: "encoder.rel_embeddings".to_owned(), norm, span, max_distance })
}

fn heads(task: Task, deberta: &Encoder, keys: &Keys) -> Result<Vec<Head>> {
    Ok(match task {
        Task::MaskedLM => {
            // The other head, `lm_predictions`, is not implemented.
            keys.expect("legacy", true)?;
            vec![bert::predictions(deberta, "LayerNorm")]
        }
        Task::SequenceClassification => vec![of_text(deberta, keys, keys.num_labels()?)?],
        Task::MultipleChoice => {
            vec![Head { form: OutputForm::Choices, ..of_text(deberta, keys, 1)? }]
        }
        _ => bert::heads(task, deberta, keys)?,
    })
}

/// A classifier of the first token after `ContextPooler`, which is no part of the encoder.
fn of_text(deberta: &Encoder, keys: &Keys, width: i64) -> Result<Head> {
    keys.expect("pooler_hidden_size", deberta.hidden_size)?;
    let mut head = Head::new(Pooling::FirstToken, "classifier", width);
    head.transforms.push(Transform {
        dense: Linear::new("pooler.dense"),
        width: deberta.hidden_size,
        activation: keys.activation("pooler_hidden_act")?,
        norm: None,
    });
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};
    use serde_json::json;

    fn refusal(key: &str, value: &Value) -> Error {
        let mut keys = json!({
            "hidden_size": 32, "num_attention_heads": 4, "relative_attention": true,
            "share_att_key": true, "position_biased_input": false, "pos_att_type": "p2c|C2P ",
            "position_buckets": 8,
        });
        let read = |keys: &Value| encoder(&Keys::from_json(keys.to_string().as_bytes()).unwrap());
        assert!(read(&keys).is_ok());
        match value {
            Value::Null => drop(keys.as_object_mut().unwrap().remove(key)),
            value => keys[key] = value.clone(),
        }
        read(&keys).unwrap_err()
    }

    #[test]
    fn what_other_checkpoints_have_is_refused_by_its_key() {
        for (key, value, found) in [
            ("relative_attention", json!(null), "found false, but only true is supported"),
            ("share_att_key", json!(false), "found false, but only true is supported"),
            ("position_biased_input", json!(null), "found true, but only false is supported"),
            ("conv_kernel_size", json!(3), "found 3, but only 0 is supported"),
            ("pos_att_type", json!(null), "found null, but only c2p|p2c is supported"),
            ("pos_att_type", json!(["c2p"]), "found a list of 1, but only c2p|p2c is supported"),
            ("pos_att_type", json!("p2p|c2p"), "found \"p2p|c2p\", but only c2p|p2c is supported"),
            ("embedding_size", json!(16), "found 16, but only 32 is supported"),
            ("attention_head_size", json!(16), "found 16, but only 8 is supported"),
            (
                "norm_rel_ebd",
                json!("batch_norm"),
                "found \"batch_norm\", but only layer_norm or none is supported",
            ),
            ("position_buckets", json!(null), "found -1, but only 4 to 1024 is supported"),
            ("position_buckets", json!(1 << 20), "found 1048576, but only 4 to 1024 is supported"),
        ] {
            let error = refusal(key, &value);
            assert_eq!(error.to_string(), format!("{key}: {found}"));
            assert_eq!(error.kind(), ErrorKind::Unsupported);
        }
        let error = refusal("max_position_embeddings", &json!(1 << 20)).to_string();
        assert_eq!(error, "max_position_embeddings: found 1048576, expected 1 to 4096");
        let error = refusal("max_relative_positions", &json!(5));
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(
            error.to_string(),
            "max_relative_positions: found 5, expected more than 5, half of position_buckets and one"
        );
    }
}
