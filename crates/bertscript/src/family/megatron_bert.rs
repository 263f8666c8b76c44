//! BERT and RoBERTa with norms before attention and feed-forward layer: Megatron, Shoeybi et al.
//! 2019, <https://arxiv.org/abs/1909.08053>; XLM-R XL, Goyal et al. 2021,
//! <https://arxiv.org/abs/2105.00572>.
//!
//! Source: <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/megatron_bert/modeling_megatron_bert.py>,
//! and `xlm_roberta_xl/modeling_xlm_roberta_xl.py` beside it

use super::bert::{self, Defaults};
use super::spec::{Encoder, LayerNorm, NormPlacement};
use super::{Family, roberta};

pub(super) const MEGATRON_BERT: Family = Family {
    model_type: "megatron-bert",
    class: "MegatronBert",
    encoder: |keys| {
        let defaults = Defaults {
            vocab_size: 29056,
            hidden_size: 1024,
            num_layers: 24,
            num_heads: 16,
            intermediate_size: 4096,
            ..bert::DEFAULTS
        };
        let names = ["attention.ln", "ln", "encoder.ln"];
        Ok(with_norms_before(bert::encoder(keys, &defaults)?, names))
    },
    ..bert::BERT
};

pub(super) const XLM_ROBERTA_XL: Family = Family {
    model_type: "xlm-roberta-xl",
    class: "XLMRobertaXL",
    encoder: |keys| {
        let defaults = Defaults {
            vocab_size: 250_880,
            hidden_size: 2560,
            num_layers: 36,
            num_heads: 32,
            intermediate_size: 10240,
            num_positions: 514,
            num_types: 1,
            eps: 1e-5,
            pad_token_id: 1,
        };
        let names = ["attention.self_attn_layer_norm", "LayerNorm", "encoder.LayerNorm"];
        Ok(with_norms_before(roberta::encoder(keys, &defaults)?, names))
    },
    ..roberta::ROBERTA
};

/// The names are those before attention, before the feed-forward layer and after the last layer.
fn with_norms_before(mut encoder: Encoder, [attention, output, last]: [&str; 3]) -> Encoder {
    let eps = encoder.eps();
    encoder.embeddings.norm = None;
    for (index, layer) in encoder.layers.iter_mut().enumerate() {
        let norm = |name| LayerNorm::new(format!("encoder.layer.{index}.{name}"), eps);
        layer.attention_norm = Some(norm(attention));
        layer.output_norm = norm(output);
    }
    encoder.norm_placement = NormPlacement::Pre;
    encoder.final_norm = Some(LayerNorm::new(last, eps));
    encoder
}
