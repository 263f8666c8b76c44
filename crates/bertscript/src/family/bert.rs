//! BERT, Devlin et al. 2018, <https://arxiv.org/abs/1810.04805>.
//!
//! Source: <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py>,
//! and `configuration_bert.py` beside it

use super::file_names::OWN_NAMES;
use super::init::WeightInit;
use super::keys::{
    Keys, MAX_ATTENTION_HEADS, MAX_LAYERS, MAX_ROWS, MAX_WIDTH, check_heads, invalid,
};
use super::relative_positions::RelativePositions;
use super::spec::{
    Embeddings, Encoder, Head, Index, Layer, LayerNorm, Linear, MaskedTokens, Mlp, NormPlacement,
    OutputForm, Pooling, Positions, Qkv, Table, Transform,
};
use super::{Family, Task};
use crate::activation::Activation;
use crate::error::Result;

pub(super) const BERT: Family = Family {
    model_type: "bert",
    class: "Bert",
    base_prefix: "bert",
    file_names: &OWN_NAMES,
    tasks: &Task::ALL,
    encoder: |keys| encoder(keys, &DEFAULTS),
    heads,
};

/// What a configuration class has where `config.json` has nothing.
pub(super) struct Defaults {
    pub(super) vocab_size: i64,
    pub(super) hidden_size: i64,
    pub(super) num_layers: i64,
    pub(super) num_heads: i64,
    pub(super) intermediate_size: i64,
    pub(super) num_positions: i64,
    pub(super) num_types: i64,
    pub(super) eps: f64,
    pub(super) pad_token_id: i64,
}

/// Those of `BertConfig`.
pub(super) const DEFAULTS: Defaults = Defaults {
    vocab_size: 30522,
    hidden_size: 768,
    num_layers: 12,
    num_heads: 12,
    intermediate_size: 3072,
    num_positions: 512,
    num_types: 2,
    eps: 1e-12,
    pad_token_id: 0,
};

/// BERT's encoder, of which others are made.
pub(super) fn encoder(keys: &Keys, defaults: &Defaults) -> Result<Encoder> {
    keys.expect("position_embedding_type", "absolute")?;
    let hidden_size = keys.size("hidden_size", defaults.hidden_size, MAX_WIDTH)?;
    let positions = keys.size("max_position_embeddings", defaults.num_positions, MAX_ROWS)?;
    let eps = keys.float("layer_norm_eps", defaults.eps)?;
    let activation = keys.activation("hidden_act")?;
    let table = |name: &str, rows, index| {
        let name = format!("embeddings.{name}_embeddings");
        Table { name, rows, index, padding_idx: None, init: WeightInit::Normal }
    };
    let words = Table {
        padding_idx: keys.pad_token_id(defaults.pad_token_id)?,
        ..table("word", keys.vocab_size(defaults.vocab_size)?, Index::Input)
    };
    // None where none is the default.
    let fewest = defaults.num_types.min(1);
    let types = keys.number("type_vocab_size", defaults.num_types, fewest..=MAX_ROWS)?;
    let num_heads = keys.size("num_attention_heads", defaults.num_heads, MAX_ATTENTION_HEADS)?;
    check_heads(("hidden_size", hidden_size), ("num_attention_heads", num_heads))?;
    let layers = keys.size("num_hidden_layers", defaults.num_layers, MAX_LAYERS)?;
    Ok(Encoder {
        hidden_size,
        num_heads,
        intermediate_size: keys.size("intermediate_size", defaults.intermediate_size, MAX_WIDTH)?,
        max_length: positions,
        embeddings: Embeddings {
            width: hidden_size,
            tables: vec![
                words,
                table("token_type", types, Index::TokenType),
                table("position", positions, Index::Position(Positions::FromZero)),
            ],
            norm: Some(LayerNorm::new("embeddings.LayerNorm", eps)),
            projection: None,
        },
        relative_positions: RelativePositions::None,
        masked_tokens: MaskedTokens::Attend,
        layer_order: (0..layers as usize).collect(),
        layers: (0..layers).map(|index| layer(index, activation, eps)).collect(),
        norm_placement: NormPlacement::Post,
        final_norm: None,
        pooler: Some(Transform {
            dense: Linear::new("pooler.dense"),
            width: hidden_size,
            activation: Activation::Tanh,
            norm: None,
        }),
        has_pooler_output: true,
    })
}

fn layer(index: i64, activation: Activation, eps: f64) -> Layer {
    let name = |name: &str| format!("encoder.layer.{index}.{name}");
    let linear = |module: &str| Linear::new(name(module));
    let norm = |module: &str| LayerNorm::new(name(module), eps);
    Layer {
        qkv: Qkv::Separate(
            ["query", "key", "value"].map(|part| linear(&format!("attention.self.{part}"))),
        ),
        attention_output: linear("attention.output.dense"),
        attention_norm: Some(norm("attention.output.LayerNorm")),
        mlp: Mlp::Plain(linear("intermediate.dense")),
        activation,
        output: linear("output.dense"),
        output_norm: norm("output.LayerNorm"),
        rope_theta: None,
        sliding_window: None,
    }
}

pub(super) fn heads(task: Task, bert: &Encoder, keys: &Keys) -> Result<Vec<Head>> {
    let next_sentence = || Head::new(Pooling::PoolerOutput, "cls.seq_relationship", 2);
    Ok(match task {
        Task::Model => Vec::new(),
        Task::PreTraining => vec![
            Head { output: "prediction_logits", ..predictions(bert, "LayerNorm") },
            Head { output: "seq_relationship_logits", ..next_sentence() },
        ],
        Task::MaskedLM => vec![predictions(bert, "LayerNorm")],
        Task::NextSentencePrediction => vec![next_sentence()],
        Task::SequenceClassification => {
            vec![Head::new(Pooling::PoolerOutput, "classifier", keys.num_labels()?)]
        }
        Task::TokenClassification => {
            vec![Head::new(Pooling::None, "classifier", keys.num_labels()?)]
        }
        Task::QuestionAnswering => {
            check_answer_labels(keys)?;
            let head = Head::new(Pooling::None, "qa_outputs", 2);
            vec![Head { form: OutputForm::StartEnd, ..head }]
        }
        Task::MultipleChoice => {
            let head = Head::new(Pooling::PoolerOutput, "classifier", 1);
            vec![Head { form: OutputForm::Choices, ..head }]
        }
    })
}

/// Of `QuestionAnswering`.
pub(super) fn check_answer_labels(keys: &Keys) -> Result<()> {
    match keys.num_labels()? {
        2 => Ok(()),
        found => {
            let message =
                format!("found {found} labels, expected 2: the start and the end of an answer");
            Err(invalid("id2label", &message))
        }
    }
}

/// `cls.predictions`, whose norm has one of two names
pub(super) fn predictions(bert: &Encoder, norm: &str) -> Head {
    let layer = &bert.layers[0];
    let transform = Transform {
        dense: Linear::new("cls.predictions.transform.dense"),
        width: bert.hidden_size,
        activation: layer.activation,
        norm: Some(LayerNorm::new(format!("cls.predictions.transform.{norm}"), bert.eps())),
    };
    Head::of_words(bert, transform, "cls.predictions.decoder", Some("cls.predictions.bias"))
}
