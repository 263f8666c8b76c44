//! A bias of attention scores, for sequences in one row.

use super::{VarlenBatch, VarlenKernel};
use crate::error::Result;
use tch::{Kind, Tensor};

/// What is added to the scores of a row's sequences, the same in every layer.
pub(crate) enum VarlenBias {
    /// Of all columns, `[1,heads,width,width]`: each sequence takes those that it has
    EachSequence(Tensor),
    Padded(Padded),
}

impl VarlenBias {
    /// Given what makes it of columns `[1,width]`.
    pub(crate) fn new(
        texts: &VarlenBatch,
        of: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Self> {
        Ok(match texts.kernel {
            VarlenKernel::Padded => {
                let columns = texts.columns_up_to(texts.max_length)?;
                Self::Padded(Padded::new(texts, &columns, &of(&columns)?)?)
            }
            _ => Self::EachSequence(of(&texts.columns_up_to(texts.width)?)?),
        })
    }
}

/// Sequences that are padded to the longest of them, `L`, inside attention.
pub(crate) struct Padded {
    /// For each place of the padded rows its token, the first for padding, `[NL]`
    tokens: Tensor,
    /// For each token its place in the padded rows, `[T]`
    places: Tensor,
    /// With padding masked, `[N,heads,L,L]`
    bias: Tensor,
    /// `N` and `L`
    sizes: [i64; 2],
}

impl Padded {
    /// columns `[1,L]`, bias `[1,heads,L,L]`
    fn new(texts: &VarlenBatch, columns: &Tensor, bias: &Tensor) -> Result<Self> {
        let count = texts.lengths.len() as i64;
        let starts = texts.cu_seqlens.f_narrow(0, 0, count)?.f_unsqueeze(1)?;
        let ends = texts.cu_seqlens.f_narrow(0, 1, count)?.f_unsqueeze(1)?;
        let tokens = columns.f_add(&starts)?;
        let is_token = tokens.f_less_tensor(&ends)?;
        let is_padding = is_token.f_logical_not()?.f_unsqueeze(1)?.f_unsqueeze(1)?;
        Ok(Self {
            tokens: tokens.f_mul(&is_token)?.f_flatten(0, 1)?,
            places: is_token.f_flatten(0, 1)?.f_nonzero()?.f_flatten(0, 1)?,
            bias: bias.f_masked_fill(&is_padding, f64::NEG_INFINITY)?,
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
            Some(&self.bias),
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
