//! DistilBERT, Sanh et al. 2019, <https://arxiv.org/abs/1910.01108>: BERT without token types and
//! pooler, under names of its own.
//!
//! Source: <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/distilbert/modeling_distilbert.py>,
//! and `configuration_distilbert.py` beside it

use super::file_names::OWN_NAMES;
use super::init::WeightInit;
use super::keys::{Keys, MAX_ATTENTION_HEADS, MAX_LAYERS, MAX_ROWS, MAX_WIDTH, check_heads};
use super::relative_positions::RelativePositions;
use super::spec::{
    Embeddings, Encoder, Head, Index, Layer, LayerNorm, Linear, MaskedTokens, Mlp, NormPlacement,
    OutputForm, Pooling, Positions, Qkv, Table, Transform,
};
use super::{Family, Task, bert, roberta};
use crate::activation::Activation;
use crate::error::Result;

pub(super) const DISTILBERT: Family = Family {
    model_type: "distilbert",
    class: "DistilBert",
    base_prefix: "distilbert",
    file_names: &OWN_NAMES,
    tasks: roberta::ROBERTA.tasks,
    encoder,
    heads,
};

/// Of every LayerNorm.
const EPS: f64 = 1e-12;

fn encoder(keys: &Keys) -> Result<Encoder> {
    let size = |names: [&str; 2], default, most| keys.size(keys.either(names)?, default, most);
    let hidden_size = size(["dim", "hidden_size"], 768, MAX_WIDTH)?;
    let positions = keys.size("max_position_embeddings", 512, MAX_ROWS)?;
    let activation = keys.activation("activation")?;
    let layers = size(["n_layers", "num_hidden_layers"], 6, MAX_LAYERS)?;
    let (hidden_names, heads_names) = (["dim", "hidden_size"], ["n_heads", "num_attention_heads"]);
    let num_heads = size(heads_names, 12, MAX_ATTENTION_HEADS)?;
    check_heads((keys.either(hidden_names)?, hidden_size), (keys.either(heads_names)?, num_heads))?;
    let table = |name: &str, rows, index, padding_idx| {
        let name = format!("embeddings.{name}_embeddings");
        Table { name, rows, index, padding_idx, init: WeightInit::Normal }
    };
    let rows = keys.vocab_size(30522)?;
    Ok(Encoder {
        hidden_size,
        num_heads,
        intermediate_size: keys.size("hidden_dim", 3072, MAX_WIDTH)?,
        max_length: positions,
        embeddings: Embeddings {
            width: hidden_size,
            tables: vec![
                table("word", rows, Index::Input, keys.pad_token_id(0)?),
                Table {
                    init: match keys.flag("sinusoidal_pos_embds", false)? {
                        true => WeightInit::Sinusoidal,
                        false => WeightInit::Normal,
                    },
                    ..table("position", positions, Index::Position(Positions::FromZero), None)
                },
            ],
            norm: Some(LayerNorm::new("embeddings.LayerNorm", EPS)),
            projection: None,
        },
        relative_positions: RelativePositions::None,
        masked_tokens: MaskedTokens::Attend,
        layer_order: (0..layers as usize).collect(),
        layers: (0..layers).map(|index| layer(index, activation)).collect(),
        norm_placement: NormPlacement::Post,
        final_norm: None,
        pooler: None,
        has_pooler_output: false,
    })
}

fn layer(index: i64, activation: Activation) -> Layer {
    let name = |module: &str| format!("transformer.layer.{index}.{module}");
    let linear = |module: &str| Linear::new(name(module));
    let norm = |module: &str| LayerNorm::new(name(module), EPS);
    Layer {
        qkv: Qkv::Separate(
            ["q_lin", "k_lin", "v_lin"].map(|part| linear(&format!("attention.{part}"))),
        ),
        attention_output: linear("attention.out_lin"),
        attention_norm: Some(norm("sa_layer_norm")),
        mlp: Mlp::Plain(linear("ffn.lin1")),
        activation,
        output: linear("ffn.lin2"),
        output_norm: norm("output_layer_norm"),
        rope_theta: None,
        sliding_window: None,
    }
}

fn heads(task: Task, distilbert: &Encoder, keys: &Keys) -> Result<Vec<Head>> {
    let transform = |name: &str, activation, norm| Transform {
        dense: Linear::new(name),
        width: distilbert.hidden_size,
        activation,
        norm,
    };
    let of_first_token = |width| Head {
        transforms: vec![transform("pre_classifier", Activation::Relu, None)],
        ..Head::new(Pooling::FirstToken, "classifier", width)
    };
    Ok(match task {
        Task::MaskedLM => {
            let norm = Some(LayerNorm::new("vocab_layer_norm", EPS));
            let transform = transform("vocab_transform", distilbert.layers[0].activation, norm);
            vec![Head::of_words(distilbert, transform, "vocab_projector", None)]
        }
        Task::SequenceClassification => vec![of_first_token(keys.num_labels()?)],
        Task::MultipleChoice => vec![Head { form: OutputForm::Choices, ..of_first_token(1) }],
        _ => bert::heads(task, distilbert, keys)?,
    })
}
