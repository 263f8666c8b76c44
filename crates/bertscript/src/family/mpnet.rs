//! MPNet, Song et al. 2020, <https://arxiv.org/abs/2004.09297>: RoBERTa without token types, whose
//! attention has a bias for the distance of two tokens.
//!
//! Source: <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/mpnet/modeling_mpnet.py>

use super::Family;
use super::bert::{self, Defaults};
use super::keys::Keys;
use super::relative_positions::{Buckets, RelativePositions};
use super::roberta::{self, count_after_pad};
use super::spec::{Encoder, Index, Layer, LayerNorm, Linear, Qkv};
use crate::error::Result;

pub(super) const MPNET: Family = Family {
    model_type: "mpnet",
    class: "MPNet",
    base_prefix: "mpnet",
    encoder,
    ..roberta::ROBERTA
};

/// The id of the padding token, whatever the configuration says.
const PAD: i64 = 1;
/// So are these, which `compute_position_bias` has.
const NUM_BUCKETS: i64 = 32;
const FARTHEST: i64 = 128;

fn encoder(keys: &Keys) -> Result<Encoder> {
    keys.expect("relative_attention_num_buckets", NUM_BUCKETS)?;
    let defaults = Defaults { vocab_size: 30527, pad_token_id: PAD, ..bert::DEFAULTS };
    let mut mpnet = bert::encoder(keys, &defaults)?;
    mpnet.embeddings.tables.retain(|table| table.index != Index::TokenType);
    mpnet.embeddings.tables[0].padding_idx = Some(PAD);
    count_after_pad(&mut mpnet, PAD)?;
    mpnet.relative_positions = RelativePositions::Buckets(Buckets {
        name: "encoder.relative_attention_bias".to_owned(),
        num_buckets: NUM_BUCKETS,
        max_distance: FARTHEST,
    });
    mpnet.layers.iter_mut().enumerate().for_each(|(index, layer)| rename(index, layer));
    Ok(mpnet)
}

fn rename(index: usize, layer: &mut Layer) {
    let name = |module: &str| format!("encoder.layer.{index}.attention.{module}");
    let qkv = ["attn.q", "attn.k", "attn.v"].map(|part| Linear::new(name(part)));
    layer.qkv = Qkv::Separate(qkv);
    layer.attention_output = Linear::new(name("attn.o"));
    layer.attention_norm = Some(LayerNorm::new(name("LayerNorm"), layer.output_norm.eps));
}
