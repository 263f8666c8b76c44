//! Encoders with rotary positions and BERT's norms: Nomic BERT, Nussbaum et al. 2024,
//! <https://arxiv.org/abs/2402.01613>; GTE, Zhang et al. 2024, <https://arxiv.org/abs/2407.19669>; the base
//! of Jina's third embeddings, Sturua et al. 2024, <https://arxiv.org/abs/2409.10173>.
//!
//! Source: <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/nomic_bert/modeling_nomic_bert.py>,
//! and `gte/modeling_gte.py` and `jina_embeddings_v3/modeling_jina_embeddings_v3.py` beside it

use super::init::WeightInit;
use super::keys::{Keys, MAX_ATTENTION_HEADS, MAX_LAYERS, MAX_ROWS, MAX_WIDTH, check_heads};
use super::relative_positions::RelativePositions;
use super::spec::{
    Embeddings, Encoder, Index, Layer, LayerNorm, Linear, MaskedTokens, Mlp, NormPlacement, Qkv,
    Table, Transform,
};
use super::{Family, Task, bert, file_names, roberta, rope};
use crate::activation::Activation;
use crate::error::Result;

pub(super) const NOMIC_BERT: Family = Family {
    model_type: "nomic_bert",
    class: "NomicBert",
    base_prefix: "nomic_bert",
    file_names: &file_names::NOMIC_BERT,
    tasks: &[Task::Model, Task::MaskedLM, Task::SequenceClassification, Task::TokenClassification],
    encoder: |keys| {
        refuse_other_code(keys)?;
        encoder(keys, &NOMIC)
    },
    heads: |task, nomic, keys| {
        Ok(match task {
            Task::MaskedLM => vec![bert::predictions(nomic, "layer_norm")],
            _ => bert::heads(task, nomic, keys)?,
        })
    },
};

pub(super) const GTE: Family = Family {
    model_type: "gte",
    class: "Gte",
    base_prefix: "gte",
    file_names: &file_names::GTE,
    encoder: |keys| {
        // What the code that its files were first published with can do otherwise.
        keys.expect("layer_norm_type", "layer_norm")?;
        keys.expect("logn_attention_scale", false)?;
        keys.expect("logn_attention_clip1", false)?;
        keys.expect("position_embedding_type", "rope")?;
        let gte = Shape {
            vocab_size: 250_048,
            num_positions: 8192,
            num_types: 1,
            least_types: 0,
            activation: Activation::Gelu,
            rope_theta: 160_000.,
            has_attention_bias: true,
            has_output_bias: true,
            pad_token_id: 1,
            ..NOMIC
        };
        encoder(keys, &gte)
    },
    heads: |task, gte, keys| {
        Ok(match task {
            // As RoBERTa's, whose bias has a second name.
            Task::MaskedLM => vec![roberta::lm_head(gte, None)],
            _ => bert::heads(task, gte, keys)?,
        })
    },
    ..NOMIC_BERT
};

pub(super) const JINA_EMBEDDINGS_V3: Family = Family {
    model_type: "jina_embeddings_v3",
    class: "JinaEmbeddingsV3",
    base_prefix: "roberta",
    file_names: &file_names::JINA_EMBEDDINGS_V3,
    tasks: &[
        Task::Model,
        Task::MaskedLM,
        Task::SequenceClassification,
        Task::TokenClassification,
        Task::QuestionAnswering,
    ],
    encoder: |keys| {
        let jina = Shape {
            vocab_size: 250_002,
            hidden_size: 1024,
            num_layers: 24,
            num_heads: 16,
            intermediate_size: 4096,
            num_positions: 8194,
            num_types: 1,
            eps: 1e-5,
            activation: Activation::Gelu,
            rope_theta: 20_000.,
            is_gated: false,
            has_attention_bias: true,
            has_output_bias: true,
            has_pooler_output: true,
            pad_token_id: 1,
            ..NOMIC
        };
        encoder(keys, &jina)
    },
    heads: roberta::heads,
};

/// Where they differ, and what their configuration classes have where `config.json` has nothing.
struct Shape {
    vocab_size: i64,
    hidden_size: i64,
    num_layers: i64,
    num_heads: i64,
    intermediate_size: i64,
    num_positions: i64,
    num_types: i64,
    least_types: i64,
    eps: f64,
    activation: Activation,
    rope_theta: f64,
    is_gated: bool,
    has_attention_bias: bool,
    has_output_bias: bool,
    has_pooler_output: bool,
    pad_token_id: i64,
}

const NOMIC: Shape = Shape {
    vocab_size: 30528,
    hidden_size: 768,
    num_layers: 12,
    num_heads: 12,
    intermediate_size: 3072,
    num_positions: 2048,
    num_types: 2,
    least_types: 1,
    eps: 1e-12,
    activation: Activation::Silu,
    rope_theta: 1000.,
    is_gated: true,
    has_attention_bias: false,
    has_output_bias: false,
    has_pooler_output: false,
    pad_token_id: 0,
};

/// Keys of the code that Nomic's files were first published with, beside GPT-2's names. What that
/// code does otherwise than transformers is refused; `n_positions` and `rotary_scaling_factor`
/// are of its longer sequences, which transformers does not have.
fn refuse_other_code(keys: &Keys) -> Result<()> {
    let no = [
        "prenorm",
        "qkv_proj_bias",
        "mlp_fc1_bias",
        "mlp_fc2_bias",
        "rotary_emb_interleaved",
        "use_rms_norm",
        "parallel_block",
        "causal",
    ];
    no.into_iter().try_for_each(|key| keys.expect(key, false))?;
    keys.expect("rotary_emb_fraction", 1)?;
    keys.expect("rotary_emb_scale_base", 0)?;
    keys.expect("moe_every_n_layers", 0)?;
    keys.expect("num_experts", 0)?;
    keys.expect("activation_function", "swiglu")
}

fn encoder(keys: &Keys, shape: &Shape) -> Result<Encoder> {
    let size = |names: [&str; 2], default, most| keys.size(keys.either(names)?, default, most);
    let hidden_size = size(["hidden_size", "n_embd"], shape.hidden_size, MAX_WIDTH)?;
    let num_layers = size(["num_hidden_layers", "n_layer"], shape.num_layers, MAX_LAYERS)?;
    let heads_key = keys.either(["num_attention_heads", "n_head"])?;
    let num_heads = keys.size(heads_key, shape.num_heads, MAX_ATTENTION_HEADS)?;
    check_heads(("hidden_size", hidden_size), (heads_key, num_heads))?;
    keys.expect("head_dim", hidden_size / num_heads)?;
    let eps = keys.float(keys.either(["layer_norm_eps", "layer_norm_epsilon"])?, shape.eps)?;
    let table = |name: &str, rows, index, padding_idx| {
        let name = format!("embeddings.{name}_embeddings");
        Table { name, rows, index, padding_idx, init: WeightInit::Normal }
    };
    let words = keys.vocab_size(shape.vocab_size)?;
    let mut tables =
        vec![table("word", words, Index::Input, keys.pad_token_id(shape.pad_token_id)?)];
    let types = keys.number("type_vocab_size", shape.num_types, shape.least_types..=MAX_ROWS)?;
    if types > 0 {
        tables.push(table("token_type", types, Index::TokenType, None));
    }
    let wide = ["intermediate_size", "n_inner"];
    let encoder = Encoder {
        hidden_size,
        num_heads,
        intermediate_size: size(wide, shape.intermediate_size, MAX_WIDTH)?,
        max_length: keys.size("max_position_embeddings", shape.num_positions, MAX_ROWS)?,
        embeddings: Embeddings {
            width: hidden_size,
            tables,
            norm: Some(LayerNorm::new("embeddings.LayerNorm", eps)),
            projection: None,
        },
        relative_positions: RelativePositions::None,
        masked_tokens: MaskedTokens::Attend,
        layer_order: (0..num_layers as usize).collect(),
        layers: (0..num_layers)
            .map(|index| layer(keys, shape, index, eps))
            .collect::<Result<_>>()?,
        norm_placement: NormPlacement::Post,
        final_norm: None,
        pooler: Some(Transform {
            dense: Linear::new("pooler.dense"),
            width: hidden_size,
            activation: Activation::Tanh,
            norm: None,
        }),
        has_pooler_output: shape.has_pooler_output,
    };
    rope::check_halves(&encoder, heads_key)?;
    Ok(encoder)
}

fn layer(keys: &Keys, shape: &Shape, index: i64, eps: f64) -> Result<Layer> {
    let name = |module: &str| format!("layers.{index}.{module}");
    let linear = |module: &str, has_bias| Linear::new(name(module)).bias(has_bias);
    let of_attention =
        |module: &str| linear(&format!("self_attn.{module}_proj"), shape.has_attention_bias);
    let (mlp, output) = match shape.is_gated {
        true => {
            let [gate, up] = ["gate", "up"].map(|part| linear(&format!("mlp.{part}_proj"), false));
            (Mlp::Glu { gate, up }, linear("mlp.down_proj", shape.has_output_bias))
        }
        false => (Mlp::Plain(linear("mlp.fc1", true)), linear("mlp.fc2", true)),
    };
    let theta_key = keys.either(["rope_theta", "rotary_emb_base"])?;
    Ok(Layer {
        qkv: Qkv::Separate(["q", "k", "v"].map(of_attention)),
        attention_output: of_attention("o"),
        attention_norm: Some(LayerNorm::new(name("post_attention_layernorm"), eps)),
        mlp,
        activation: keys.activation_or("hidden_act", shape.activation)?,
        output,
        output_norm: LayerNorm::new(name("post_mlp_layernorm"), eps),
        rope_theta: Some(rope::theta(keys, None, theta_key, shape.rope_theta)?),
        sliding_window: None,
    })
}
