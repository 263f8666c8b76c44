//! ALBERT, Lan et al. 2019, <https://arxiv.org/abs/1909.11942>: BERT with narrower embeddings, whose
//! layers have the parameters of one, or of a few.
//!
//! Source: <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/albert/modeling_albert.py>

use super::bert::{self, Defaults};
use super::keys::{Keys, MAX_LAYERS, MAX_WIDTH, invalid};
use super::spec::{Encoder, Head, Layer, LayerNorm, Linear, Mlp, Pooling, Qkv, Transform};
use super::{Family, Task};
use crate::activation::Activation;
use crate::error::Result;

pub(super) const ALBERT: Family = Family {
    model_type: "albert",
    class: "Albert",
    base_prefix: "albert",
    tasks: &[
        Task::Model,
        Task::PreTraining,
        Task::MaskedLM,
        Task::SequenceClassification,
        Task::TokenClassification,
        Task::QuestionAnswering,
        Task::MultipleChoice,
    ],
    encoder,
    heads,
    ..bert::BERT
};

const DEFAULTS: Defaults = Defaults {
    vocab_size: 30000,
    hidden_size: 4096,
    num_heads: 64,
    intermediate_size: 16384,
    ..bert::DEFAULTS
};

fn encoder(keys: &Keys) -> Result<Encoder> {
    keys.expect("inner_group_num", 1)?;
    let mut albert = bert::encoder(keys, &DEFAULTS)?;
    let (layers, eps) = (albert.layers.len(), albert.eps());
    let groups = keys.size("num_hidden_groups", 1, MAX_LAYERS)? as usize;
    if !layers.is_multiple_of(groups) {
        let message =
            format!("found {groups}, of which num_hidden_layers, {layers}, is no multiple");
        return Err(invalid("num_hidden_groups", &message));
    }
    let activation = keys.activation_or("hidden_act", Activation::GeluNew)?;
    albert.layers = (0..groups).map(|group| layer(group, activation, eps)).collect();
    albert.layer_order = (0..layers).map(|index| index / (layers / groups)).collect();
    albert.embeddings.width = keys.size("embedding_size", 128, MAX_WIDTH)?;
    albert.embeddings.projection = Some(Linear::new("encoder.embedding_hidden_mapping_in"));
    if let Some(pooler) = &mut albert.pooler {
        pooler.dense = Linear::new("pooler");
    }
    Ok(albert)
}

fn layer(group: usize, activation: Activation, eps: f64) -> Layer {
    let name = |name: &str| format!("encoder.albert_layer_groups.{group}.albert_layers.0.{name}");
    let linear = |module: &str| Linear::new(name(module));
    let qkv = ["query", "key", "value"].map(|part| linear(&format!("attention.{part}")));
    Layer {
        qkv: Qkv::Separate(qkv),
        attention_output: linear("attention.dense"),
        attention_norm: Some(LayerNorm::new(name("attention.LayerNorm"), eps)),
        mlp: Mlp::Plain(linear("ffn")),
        activation,
        output: linear("ffn_output"),
        output_norm: LayerNorm::new(name("full_layer_layer_norm"), eps),
        rope_theta: None,
        sliding_window: None,
    }
}

fn heads(task: Task, albert: &Encoder, keys: &Keys) -> Result<Vec<Head>> {
    let predictions = || {
        let transform = Transform {
            dense: Linear::new("predictions.dense"),
            width: albert.embeddings.width,
            activation: albert.layers[0].activation,
            norm: Some(LayerNorm::new("predictions.LayerNorm", albert.eps())),
        };
        Head::of_words(albert, transform, "predictions.decoder", Some("predictions.bias"))
    };
    Ok(match task {
        Task::PreTraining => {
            // Whether two texts are in order.
            let order = "sop_classifier.classifier";
            let order = Head::new(Pooling::PoolerOutput, order, keys.num_labels()?);
            vec![
                Head { output: "prediction_logits", ..predictions() },
                Head { output: "sop_logits", ..order },
            ]
        }
        Task::MaskedLM => vec![predictions()],
        _ => bert::heads(task, albert, keys)?,
    })
}
