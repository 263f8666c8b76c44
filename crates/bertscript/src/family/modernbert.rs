//! ModernBERT, Warner et al. 2024, <https://arxiv.org/abs/2412.13663>: rotary positions, a gated
//! feed-forward layer, norms before both parts of a layer, and windows in two of three layers.
//!
//! Source: <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/modernbert/modeling_modernbert.py>

use super::file_names::OWN_NAMES;
use super::init::TruncatedInits;
use super::keys::{
    Keys, MAX_ATTENTION_HEADS, MAX_LAYERS, MAX_ROWS, MAX_WIDTH, check_heads, invalid,
};
use super::relative_positions::RelativePositions;
use super::spec::{
    Embeddings, Encoder, Head, Index, Layer, LayerNorm, Linear, MaskedTokens, Mlp, NormPlacement,
    OutputForm, Pooling, Qkv, Table, Transform,
};
use super::{Family, Task, bert, roberta, rope};
use crate::error::{Error, ErrorKind, Result};

pub(super) const MODERNBERT: Family = Family {
    model_type: "modernbert",
    class: "ModernBert",
    base_prefix: "model",
    file_names: &OWN_NAMES,
    tasks: roberta::ROBERTA.tasks,
    encoder,
    heads,
};

const FULL: &str = "full_attention";
const SLIDING: &str = "sliding_attention";

fn norm(keys: &Keys, name: impl Into<String>) -> Result<LayerNorm> {
    let norm = LayerNorm::new(name, keys.float("norm_eps", 1e-5)?);
    Ok(LayerNorm { has_bias: keys.flag("norm_bias", false)?, ..norm })
}

fn encoder(keys: &Keys) -> Result<Encoder> {
    let hidden_size = keys.size("hidden_size", 768, MAX_WIDTH)?;
    let num_heads = keys.size("num_attention_heads", 12, MAX_ATTENTION_HEADS)?;
    check_heads(("hidden_size", hidden_size), ("num_attention_heads", num_heads))?;
    keys.expect("head_dim", hidden_size / num_heads)?;
    let num_layers = keys.size("num_hidden_layers", 22, MAX_LAYERS)?;
    let inits = TruncatedInits::of(keys, hidden_size, num_layers)?;
    let layers = layer_types(keys, num_layers)?
        .into_iter()
        .enumerate()
        .map(|(index, kind)| layer(keys, &inits, index, kind));
    let words = Table {
        name: "embeddings.tok_embeddings".to_owned(),
        rows: keys.size("vocab_size", 50368, MAX_ROWS)?,
        index: Index::Input,
        padding_idx: keys.pad_token_id(50283)?,
        init: inits.input,
    };
    let encoder = Encoder {
        hidden_size,
        num_heads,
        intermediate_size: keys.size("intermediate_size", 1152, MAX_WIDTH)?,
        max_length: keys.size("max_position_embeddings", 8192, MAX_ROWS)?,
        embeddings: Embeddings {
            width: hidden_size,
            tables: vec![words],
            norm: Some(norm(keys, "embeddings.norm")?),
            projection: None,
        },
        relative_positions: RelativePositions::None,
        masked_tokens: MaskedTokens::Attend,
        layer_order: (0..num_layers as usize).collect(),
        layers: layers.collect::<Result<_>>()?,
        norm_placement: NormPlacement::Pre,
        final_norm: Some(norm(keys, "final_norm")?),
        pooler: None,
        has_pooler_output: false,
    };
    rope::check_halves(&encoder, "num_attention_heads")?;
    Ok(encoder)
}

/// What kind of attention each layer has: as stated, or every third one without a window.
fn layer_types(keys: &Keys, num_layers: i64) -> Result<Vec<&'static str>> {
    const KEY: &str = "layer_types";
    let every = keys.size("global_attn_every_n_layers", 3, MAX_LAYERS)?;
    if keys.value(KEY).is_none() {
        let kind = |index| if index % every == 0 { FULL } else { SLIDING };
        return Ok((0..num_layers).map(kind).collect());
    }
    let stated = keys.strings(KEY)?;
    if stated.len() as i64 != num_layers {
        let message =
            format!("found {}, expected one for each of {num_layers} layers", stated.len());
        return Err(invalid(KEY, &message));
    }
    let known = stated.iter().map(|stated| {
        [FULL, SLIDING].into_iter().find(|known| known == stated).ok_or_else(|| {
            let message =
                format!("{KEY}: found {stated:?}, but only {FULL:?} and {SLIDING:?} are supported");
            Error::new(ErrorKind::Unsupported, message)
        })
    });
    known.collect()
}

/// To either side: half of `local_attention`, which `sliding_window` is another name of.
fn window(keys: &Keys) -> Result<i64> {
    let half = keys.size("local_attention", 128, MAX_ROWS)? / 2;
    let window = keys.number("sliding_window", half, 0..=MAX_ROWS)?;
    if window != half && keys.value("local_attention").is_some() {
        let message = format!("found {window}, but local_attention is twice {half}");
        return Err(invalid("sliding_window", &message));
    }
    Ok(window)
}

fn layer(keys: &Keys, inits: &TruncatedInits, index: usize, kind: &str) -> Result<Layer> {
    let name = |module: &str| format!("layers.{index}.{module}");
    let [attention_bias, mlp_bias] =
        ["attention_bias", "mlp_bias"].map(|key| keys.flag(key, false));
    let (attention_bias, mlp_bias) = (attention_bias?, mlp_bias?);
    let linear = |module, has_bias, init| Linear::new(name(module)).bias(has_bias).init(init);
    let (old_key, default, window) = match kind {
        FULL => ("global_rope_theta", 160_000., None),
        _ => ("local_rope_theta", 10_000., Some(window(keys)?)),
    };
    Ok(Layer {
        qkv: Qkv::Fused(linear("attn.Wqkv", attention_bias, inits.input)),
        attention_output: linear("attn.Wo", attention_bias, inits.output),
        // The embeddings are normalised.
        attention_norm: (index > 0).then(|| norm(keys, name("attn_norm"))).transpose()?,
        mlp: Mlp::FusedGlu(linear("mlp.Wi", mlp_bias, inits.input)),
        activation: keys.activation("hidden_activation")?,
        output: linear("mlp.Wo", mlp_bias, inits.output),
        output_norm: norm(keys, name("mlp_norm"))?,
        rope_theta: Some(rope::theta(keys, Some(kind), old_key, default)?),
        sliding_window: window,
    })
}

fn heads(task: Task, modernbert: &Encoder, keys: &Keys) -> Result<Vec<Head>> {
    if task == Task::Model {
        return Ok(Vec::new());
    }
    let inits = TruncatedInits::of(keys, modernbert.hidden_size, modernbert.layers.len() as i64)?;
    let dense = Linear::new("head.dense").bias(keys.flag("classifier_bias", false)?);
    let transform = Transform {
        dense: dense.init(inits.output),
        width: modernbert.hidden_size,
        activation: keys.activation("classifier_activation")?,
        norm: Some(norm(keys, "head.norm")?),
    };
    let classifier = |pooling, width| {
        let mut head = Head::new(pooling, "classifier", width);
        head.transforms.push(transform.clone());
        head.last.dense.init = inits.final_output;
        head
    };
    let of_text = || match keys.string("classifier_pooling")? {
        None | Some("cls") => Ok(Pooling::FirstToken),
        Some("mean") => Ok(Pooling::Mean),
        Some(other) => {
            let message = format!(
                "classifier_pooling: found {other:?}, but only \"cls\" and \"mean\" are supported"
            );
            Err(Error::new(ErrorKind::Unsupported, message))
        }
    };
    Ok(match task {
        Task::MaskedLM => {
            let mut head = Head::of_words(modernbert, transform, "decoder", None);
            head.last.dense.has_bias = keys.flag("decoder_bias", true)?;
            head.last.dense.init = inits.output;
            vec![head]
        }
        Task::SequenceClassification => vec![classifier(of_text()?, keys.num_labels()?)],
        Task::TokenClassification => vec![classifier(Pooling::None, keys.num_labels()?)],
        Task::QuestionAnswering => {
            bert::check_answer_labels(keys)?;
            vec![Head { form: OutputForm::StartEnd, ..classifier(Pooling::None, 2) }]
        }
        Task::MultipleChoice => {
            vec![Head { form: OutputForm::Choices, ..classifier(of_text()?, 1) }]
        }
        _ => bert::heads(task, modernbert, keys)?,
    })
}
