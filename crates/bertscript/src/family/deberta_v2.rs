//! DeBERTa in its second and third versions, He et al. 2020 and 2021,
//! <https://arxiv.org/abs/2006.03654> and <https://arxiv.org/abs/2111.09543>: BERT whose attention
//! knows positions by the distances of tokens.
//!
//! Source: <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/deberta_v2/modeling_deberta_v2.py>,
//! and `configuration_deberta_v2.py` beside it

use super::bert::{self, Defaults};
use super::keys::{Keys, MAX_ROWS, invalid};
use super::relative_positions::{Disentangled, RelativePositions};
use super::spec::{
    Encoder, Head, Index, LayerNorm, Linear, MaskedTokens, OutputForm, Pooling, Qkv, Transform,
};
use super::{Family, Task, roberta};
use crate::error::{Error, ErrorKind, Result};
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

/// What the checkpoints of the third version have; those of the second have a convolution beside
/// the first layer, too, which is refused.
fn encoder(keys: &Keys) -> Result<Encoder> {
    keys.require("relative_attention", false, true)?;
    keys.require("share_att_key", false, true)?;
    keys.require("position_biased_input", true, false)?;
    keys.require("conv_kernel_size", 0, 0)?;
    check_terms(keys)?;
    let mut deberta = bert::encoder(keys, &DEFAULTS)?;
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
    let is_both =
        terms.len() == 2 && ["c2p", "p2c"].iter().all(|term| terms.contains(&term.to_string()));
    if is_both {
        return Ok(());
    }
    let found = match terms.len() {
        0 => "none".to_owned(),
        1..=3 if terms.iter().all(|term| term.len() < 16) => terms.join("|"),
        count => format!("{count} others"),
    };
    let message = format!("{key}: found {found}, but only c2p|p2c is supported");
    Err(Error::new(ErrorKind::Unsupported, message))
}

fn distances(keys: &Keys, deberta: &Encoder) -> Result<Disentangled> {
    let norm = match keys.string("norm_rel_ebd")?.unwrap_or("none").trim() {
        "layer_norm" => Some(LayerNorm::new("encoder.LayerNorm", deberta.eps())),
        "none" => None,
        found => {
            let message =
                format!("norm_rel_ebd: found {found:?}, but only layer_norm or none is supported");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    };
    let (key, most) = ("position_buckets", MAX_ROWS / 2);
    let span = match keys.number(key, -1, -1..=most)? {
        buckets if buckets >= 4 => buckets,
        found => {
            let message = format!("{key}: found {found}, but only 4 to {most} is supported");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    };
    let (key, exact) = ("max_relative_positions", span / 2);
    let max_distance = match keys.number(key, -1, -1..=MAX_ROWS)? {
        none if none < 1 => deberta.max_length,
        most => most,
    };
    if max_distance <= exact + 1 {
        let message = format!(
            "found {max_distance}, expected more than {}, as position_buckets has {exact} \
             distances to each side in rows of their own",
            exact + 1
        );
        return Err(invalid(key, &message));
    }
    Ok(Disentangled { name: "encoder.rel_embeddings".to_owned(), norm, span, max_distance })
}

fn heads(task: Task, deberta: &Encoder, keys: &Keys) -> Result<Vec<Head>> {
    Ok(match task {
        Task::MaskedLM => {
            // The other has no weights in what Microsoft published.
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

/// A classifier of what `ContextPooler` makes of the first token; it is no part of the encoder.
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
            ("pos_att_type", json!(null), "found none, but only c2p|p2c is supported"),
            ("pos_att_type", json!(["c2p"]), "found c2p, but only c2p|p2c is supported"),
            ("pos_att_type", json!("p2p|c2p"), "found p2p|c2p, but only c2p|p2c is supported"),
            ("embedding_size", json!(16), "found 16, but only 32 is supported"),
            ("attention_head_size", json!(16), "found 16, but only 8 is supported"),
            (
                "norm_rel_ebd",
                json!("batch_norm"),
                "found \"batch_norm\", but only layer_norm or none is supported",
            ),
            ("position_buckets", json!(null), "found -1, but only 4 to 8388608 is supported"),
        ] {
            let error = refusal(key, &value);
            assert_eq!(error.to_string(), format!("{key}: {found}"));
            assert_eq!(error.kind(), ErrorKind::Unsupported);
        }
        let error = refusal("max_relative_positions", &json!(5));
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(
            error.to_string(),
            "max_relative_positions: found 5, expected more than 5, as position_buckets has 4 \
             distances to each side in rows of their own"
        );
    }
}
