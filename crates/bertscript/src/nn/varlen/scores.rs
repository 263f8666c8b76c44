//! What attention over the sequences of a row depends on beside its inputs.
//!
//! Source: the masks of `sdpa_mask`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/masking_utils.py>

use super::{VarlenBatch, VarlenKernel};
use crate::error::Result;
use tch::{Kind, Tensor};

/// How the scores of a row's sequences are made; the same for all layers of a kind.
pub(crate) enum VarlenScores {
    /// By a kernel for sequences of different lengths, perhaps with a window to either side
    Kernel {
        window: Option<i64>,
    },
    /// With a mask of all columns, `[1,heads,width,width]` or `[1,1,width,width]`: each sequence
    /// takes those that it has
    EachSequence(Option<Tensor>),
    Padded(Padded),
}

impl VarlenScores {
    /// Given a window, and what makes a mask of columns `[1,width]`, of bool or to be added;
    /// none if all tokens of a sequence attend to one another.
    pub(crate) fn new(
        texts: &VarlenBatch,
        window: Option<i64>,
        mask: impl FnOnce(&Tensor) -> Result<Option<Tensor>>,
    ) -> Result<Self> {
        Ok(match texts.kernel {
            VarlenKernel::Flash | VarlenKernel::Efficient => Self::Kernel { window },
            VarlenKernel::EachSequence => {
                Self::EachSequence(mask(&texts.columns_up_to(texts.width)?)?)
            }
            VarlenKernel::Padded => {
                let columns = texts.columns_up_to(texts.max_length)?;
                Self::Padded(Padded::new(texts, &columns, mask(&columns)?)?)
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
    /// With padding left out, `[N,heads,L,L]`, `[N,1,L,L]` or `[N,1,1,L]`
    mask: Tensor,
    /// `N` and `L`
    sizes: [i64; 2],
}

impl Padded {
    /// columns `[1,L]`, mask `[1,heads,L,L]`
    fn new(texts: &VarlenBatch, columns: &Tensor, mask: Option<Tensor>) -> Result<Self> {
        let count = texts.sequences;
        let starts = texts.cu_seqlens.f_narrow(0, 0, count)?.f_unsqueeze(1)?;
        let ends = texts.cu_seqlens.f_narrow(0, 1, count)?.f_unsqueeze(1)?;
        let tokens = columns.f_add(&starts)?;
        let is_token = tokens.f_less_tensor(&ends)?;
        let is_key = is_token.f_unsqueeze(1)?.f_unsqueeze(1)?;
        Ok(Self {
            tokens: tokens.f_mul(&is_token)?.f_flatten(0, 1)?,
            places: is_token.f_flatten(0, 1)?.f_nonzero()?.f_flatten(0, 1)?,
            mask: match mask {
                None => is_key,
                Some(mask) if mask.f_kind()? == Kind::Bool => mask.f_logical_and(&is_key)?,
                Some(bias) => bias.f_masked_fill(&is_key.f_logical_not()?, f64::NEG_INFINITY)?,
            },
            sizes: [count, texts.max_length],
        })
    }

    /// `[T,heads,head_dim]` each -> the same
    pub(super) fn attention(&self, query_key_value: [&Tensor; 3]) -> Result<Tensor> {
        let padded = |part: &Tensor| -> Result<Tensor> {
            let rows = part.f_index_select(0, &self.tokens)?;
            // `[N,heads,L,head_dim]`
            Ok(rows.f_unflatten(0, self.sizes)?.f_transpose(1, 2)?)
        };
        let [query, key, value] = query_key_value.map(padded);
        let (dropout_p, is_causal, enable_gqa) = (0., false, false);
        let context = Tensor::f_scaled_dot_product_attention(
            &query?,
            &key?,
            &value?,
            Some(&self.mask),
            dropout_p,
            is_causal,
            None,
            enable_gqa,
        )?;
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
