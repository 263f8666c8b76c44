//! What attention over the sequences of a row depends on beside its inputs.
//!
//! Source: the masks of `sdpa_mask`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/masking_utils.py>

use super::{DisentangledScores, DistanceVectors, VarlenBatch, VarlenKernel, wanted};
use crate::attention::Attention;
use crate::error::Result;
use tch::{Kind, Tensor};

/// How the scores of a row's sequences are made; the same for all layers of a kind.
pub(crate) enum VarlenScores {
    /// By a kernel for sequences of different lengths, perhaps with a window to either side
    Kernel {
        window: Option<i64>,
    },
    /// One by one, with what scores of all columns depend on: each sequence takes those that it
    /// has
    EachSequence(OfColumns),
    Padded(Padded),
}

/// What scores of columns depend on.
pub(crate) enum OfColumns {
    Nothing,
    /// `[1,heads,width,width]` or `[1,1,width,width]`, of bool or to be added
    Mask(Tensor),
    /// The rows of distances, `[1,1,width,width]`
    Distances(Tensor),
}

impl VarlenScores {
    /// Given a window, and what is made of columns `[1,width]`.
    pub(crate) fn new(
        texts: &VarlenBatch,
        window: Option<i64>,
        of_columns: impl FnOnce(&Tensor) -> Result<OfColumns>,
    ) -> Result<Self> {
        Ok(match texts.kernel {
            VarlenKernel::Flash | VarlenKernel::Efficient => Self::Kernel { window },
            VarlenKernel::EachSequence => {
                Self::EachSequence(of_columns(&texts.columns_up_to(texts.width)?)?)
            }
            VarlenKernel::Padded => {
                let columns = texts.columns_up_to(texts.max_length)?;
                Self::Padded(Padded::new(texts, &columns, of_columns(&columns)?)?)
            }
        })
    }
}

/// Sequences that are padded to the longest of them, `L`, inside attention.
pub(crate) struct Padded {
    /// For each place of the padded rows its token, the first for padding, `[NL]`
    tokens: Tensor,
    /// For each token its place in the padded rows, `[T]`
    places: Tensor,
    scores: PaddedScores,
    /// `N` and `L`
    sizes: [i64; 2],
}

enum PaddedScores {
    /// With padding left out, `[N,heads,L,L]`, `[N,1,L,L]` or `[N,1,1,L]`
    Mask(Tensor),
    /// The rows of distances `[1,1,L,L]`, and whether a place has a token, `[N,L]`
    Distances { rows: Tensor, is_token: Tensor },
}

impl Padded {
    /// columns `[1,L]`
    fn new(texts: &VarlenBatch, columns: &Tensor, of_columns: OfColumns) -> Result<Self> {
        let count = texts.sequences;
        let starts = texts.cu_seqlens.f_narrow(0, 0, count)?.f_unsqueeze(1)?;
        let ends = texts.cu_seqlens.f_narrow(0, 1, count)?.f_unsqueeze(1)?;
        let tokens = columns.f_add(&starts)?;
        let is_token = tokens.f_less_tensor(&ends)?;
        let is_key = is_token.f_unsqueeze(1)?.f_unsqueeze(1)?;
        Ok(Self {
            tokens: tokens.f_mul(&is_token)?.f_flatten(0, 1)?,
            places: is_token.f_flatten(0, 1)?.f_nonzero()?.f_flatten(0, 1)?,
            scores: match of_columns {
                OfColumns::Nothing => PaddedScores::Mask(is_key),
                OfColumns::Mask(mask) if mask.f_kind()? == Kind::Bool => {
                    PaddedScores::Mask(mask.f_logical_and(&is_key)?)
                }
                OfColumns::Mask(bias) => {
                    let without = is_key.f_logical_not()?;
                    PaddedScores::Mask(bias.f_masked_fill(&without, f64::NEG_INFINITY)?)
                }
                OfColumns::Distances(rows) => PaddedScores::Distances { rows, is_token },
            },
            sizes: [count, texts.max_length],
        })
    }

    /// `[T,heads,head_dim]` each -> the same
    pub(super) fn attention(
        &self,
        query_key_value: [&Tensor; 3],
        distances: Option<&DistanceVectors>,
    ) -> Result<Tensor> {
        let padded = |part: &Tensor| -> Result<Tensor> {
            let rows = part.f_index_select(0, &self.tokens)?;
            // `[N,heads,L,head_dim]`
            Ok(rows.f_unflatten(0, self.sizes)?.f_transpose(1, 2)?)
        };
        let [query, key, value] = query_key_value.map(padded);
        let (query, key, value) = (query?, key?, value?);
        let context = match &self.scores {
            PaddedScores::Mask(mask) => {
                let (dropout_p, is_causal, enable_gqa) = (0., false, false);
                Tensor::f_scaled_dot_product_attention(
                    &query,
                    &key,
                    &value,
                    Some(mask),
                    dropout_p,
                    is_causal,
                    None,
                    enable_gqa,
                )?
            }
            PaddedScores::Distances { rows, is_token } => {
                let distances = wanted(distances)?;
                let scores = DisentangledScores::new(rows, is_token, distances.num_heads(), true)?;
                distances.attention(Attention::Sdpa, [&query, &key, &value], &scores)?.0
            }
        };
        Ok(context.f_transpose(1, 2)?.f_flatten(0, 1)?.f_index_select(0, &self.places)?)
    }
}

impl VarlenBatch {
    /// 0, 1, 2 .., `[1,width]`
    fn columns_up_to(&self, width: i64) -> Result<Tensor> {
        let ones = self.columns.f_narrow(0, 0, 1)?.f_ones_like()?.f_repeat([1, width])?;
        Ok(ones.f_cumsum(1, Kind::Int64)?.f_sub_scalar(1)?)
    }
}
