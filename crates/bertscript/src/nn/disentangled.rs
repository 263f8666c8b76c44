//! Disentangled attention, He et al. 2021, <https://arxiv.org/abs/2006.03654>: products of content
//! with content, of queries with the keys of distances, and of keys with the queries of distances.
//!
//! Source: `DisentangledSelfAttention` and `make_log_bucket_position`,
//! <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/deberta_v2/modeling_deberta_v2.py>

use super::{Embedding, LayerNorm, Linear, Scores};
use crate::attention::Attention;
use crate::error::Result;
use crate::family::relative_positions::Disentangled;
use crate::weights::{Init, TorchWeights};
use tch::{Kind, Tensor};
use torchscript::SharedTensor;

/// The vectors of distances, the same for all layers.
pub(crate) struct DistanceEmbedding {
    embedding: Embedding,
    norm: Option<LayerNorm>,
    spec: Disentangled,
}

impl DistanceEmbedding {
    pub(crate) fn load(w: &TorchWeights, spec: &Disentangled, hidden_size: i64) -> Result<Self> {
        let embedding =
            Embedding::load(&w.sub(&spec.name), spec.num_rows(), hidden_size, Init::Normal)?;
        let norm = spec.norm.as_ref().map(|norm| LayerNorm::load(w, norm, hidden_size));
        Ok(Self { embedding, norm: norm.transpose()?, spec: spec.clone() })
    }

    /// `[R,H]`
    pub(crate) fn vectors(&self) -> Result<Tensor> {
        let vectors = self.embedding.weight();
        self.norm.as_ref().map_or(Ok(vectors.shallow_clone()), |norm| norm.forward(&vectors))
    }

    /// positions `[1,S]` -> the row of each query and key, `[1,1,S,S]`
    pub(crate) fn rows(&self, positions: &Tensor) -> Result<Tensor> {
        rows(&self.spec, positions)
    }
}

/// [`Disentangled::row`], of tensors: positions `[1,S]` -> `[1,1,S,S]`
fn rows(spec: &Disentangled, positions: &Tensor) -> Result<Tensor> {
    let (exact, last) = (spec.exact(), spec.num_rows() - 1);
    let distance = positions.f_unsqueeze(-1)?.f_sub(&positions.f_unsqueeze(-2)?)?;
    let away = distance.f_abs()?;
    // A quotient of whole numbers is of the default dtype; a cast would bake in the device.
    let log = |distance: &Tensor| distance.f_div_scalar(exact)?.f_log();
    let farthest = positions.f_narrow(-1, 0, 1)?.f_zeros_like()?;
    let range = log(&farthest.f_add_scalar(spec.max_distance - 1)?)?.f_unsqueeze(-1)?;
    let share = log(&away.f_clamp_min(exact)?)?.f_div(&range)?;
    let beyond = share.f_mul_scalar(exact - 1)?.f_ceil()?.f_add_scalar(exact)?;
    let bucket = distance.f_where_self(&away.f_le(exact)?, &beyond.f_mul(&distance.f_sign()?)?)?;
    let row = bucket.f_add_scalar(spec.span)?.f_clamp(0, last)?;
    // Whole numbers again.
    let row = row.f_unsqueeze(-1)?.f_cumsum(-1, Kind::Int64)?.f_squeeze_dim(-1)?;
    Ok(row.f_unsqueeze(1)?)
}

/// Keys and queries of distances, as a layer projects them.
pub(crate) struct DistanceVectors {
    /// `[1,heads,R,head_dim]`
    keys: SharedTensor,
    /// The same
    queries: SharedTensor,
    /// Their number, and the width of one
    heads: [i64; 2],
}

impl DistanceVectors {
    /// vectors `[R,H]`; heads is their number, and the width of one
    pub(crate) fn new(
        [query, key]: [&Linear; 2],
        vectors: &Tensor,
        heads: [i64; 2],
    ) -> Result<Self> {
        let of = |linear: &Linear| -> Result<SharedTensor> {
            let rows = linear.forward(vectors)?.f_unflatten(-1, heads)?;
            Ok(SharedTensor::new(rows.f_transpose(0, 1)?.f_unsqueeze(0)?))
        };
        Ok(Self { keys: of(key)?, queries: of(query)?, heads })
    }

    pub(crate) fn num_heads(&self) -> i64 {
        self.heads[0]
    }

    /// query, key, value `[B,heads,S,head_dim]` -> `[B,heads,S,head_dim]`, and from eager attention
    /// the probabilities `[B,heads,S,S]`
    pub(crate) fn attention(
        &self,
        attention: Attention,
        [query, key, value]: [&Tensor; 3],
        of_batch: &DisentangledScores,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let DisentangledScores { rows, mask } = of_batch;
        let head_dim = self.heads[1];
        let of_keys = query.f_matmul(&self.keys.get().f_transpose(2, 3)?)?;
        let of_keys = of_keys.f_gather(3, rows, false)?;
        let of_queries = self.queries.get().f_matmul(&key.f_transpose(2, 3)?)?;
        let of_queries = of_queries.f_gather(2, rows, false)?;
        // Three products, and so the variance of three.
        let scale = (3. * head_dim as f64).powf(-0.5);
        let bias = of_keys.f_add(&of_queries)?.f_mul_scalar(scale)?;
        match mask {
            None => attention.forward(
                [query, key, value],
                &attention.scores(None, Some(bias))?.scale(scale),
                head_dim,
            ),
            Some(PairMask { is_query, is_pair }) => attention.forward(
                // Equal scores of all keys, with equal numbers added.
                [&query.f_mul(is_query)?, key, value],
                &Scores::of_pairs(attention, is_pair, bias)?.scale(scale),
                head_dim,
            ),
        }
    }
}

/// What disentangled attention takes of a batch.
pub(crate) struct DisentangledScores {
    /// Of [`DistanceEmbedding`], `[B,heads,S,S]`
    rows: Tensor,
    mask: Option<PairMask>,
}

/// Which tokens take part; those that do not attend to all alike.
struct PairMask {
    /// `[B,1,S,1]`, 1 or true
    is_query: Tensor,
    /// `[B,1,S,S]` of bool
    is_pair: Tensor,
}

impl DisentangledScores {
    /// rows `[1,1,S,S]` of int64, tokens `[B,S]` of bool, or of 0 and 1: which take part, if not
    /// all of them do
    pub(crate) fn new(
        rows: &Tensor,
        tokens: &Tensor,
        num_heads: i64,
        is_masked: bool,
    ) -> Result<Self> {
        let tokens = tokens.f_unsqueeze(1)?;
        let (is_query, is_key) = (tokens.f_unsqueeze(-1)?, tokens.f_unsqueeze(-2)?);
        // Of the shape of a batch's scores, whose sizes must not become numbers.
        let is_pair = is_query.f_logical_and(&is_key)?;
        let rows = rows.f_expand_as(&is_pair.f_expand([-1, num_heads, -1, -1], false)?)?;
        Ok(Self { rows, mask: is_masked.then_some(PairMask { is_query, is_pair }) })
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "nothing is traced")]
mod tests {
    use super::*;

    #[test]
    fn tensors_have_the_rows_that_numbers_have() {
        let positions = Tensor::arange(1100, (Kind::Int64, tch::Device::Cpu)).unsqueeze(0);
        for (span, max_distance) in [(256, 512), (32, 64), (64, 512), (4, 1000), (128, 66), (9, 7)]
        {
            let spec = Disentangled { name: String::new(), norm: None, span, max_distance };
            let found = rows(&spec, &positions).unwrap();
            assert_eq!(found.kind(), Kind::Int64);
            // Of the first query, and of the last.
            for query in [0, 1099] {
                let found = found.select(2, query).flatten(0, 2);
                let found = Vec::<i64>::try_from(found).unwrap();
                let expected: Vec<_> = (0..1100).map(|key| spec.row(query - key)).collect();
                assert_eq!(found, expected, "{span} {max_distance}");
            }
        }
    }

    /// Where no text reaches the distances that share rows, the logarithms have no range.
    #[test]
    fn short_texts_have_a_row_for_each_distance() {
        let positions = Tensor::arange(100, (Kind::Int64, tch::Device::Cpu)).unsqueeze(0);
        for max_distance in [1, 2, 100, 129] {
            let spec = Disentangled { name: String::new(), norm: None, span: 256, max_distance };
            let found = rows(&spec, &positions).unwrap().select(2, 99).flatten(0, 2);
            let expected: Vec<i64> = (0..100).map(|key| 256 + 99 - key).collect();
            assert_eq!(Vec::<i64>::try_from(found).unwrap(), expected, "{max_distance}");
            assert_eq!((0..100).map(|key| spec.row(99 - key)).collect::<Vec<_>>(), expected);
        }
    }
}
