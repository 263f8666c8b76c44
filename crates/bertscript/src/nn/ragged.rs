//! Texts of different lengths in one row, without padding.
//!
//! Source: `varlen_attn`, <https://github.com/pytorch/pytorch/blob/v2.11.0/torch/nn/attention/varlen.py>;
//! Dao 2023, <https://arxiv.org/abs/2307.08691>

#![expect(clippy::disallowed_methods, reason = "computes a call's own batch, records no trace")]

use crate::error::Result;
use std::iter::repeat_n;
use tch::{Kind, Tensor};

/// A row `[1,T]` that holds `N` texts, one after the other, on a device.
#[derive(Debug)]
pub(crate) struct Ragged {
    /// `[1,T]` of int64
    pub(crate) input_ids: Tensor,
    /// `[1,T]` of int64
    pub(crate) token_type_ids: Tensor,
    /// The place of each token in its own text, `[1,T]` of int64
    pub(crate) position_ids: Tensor,
    /// The place of each text's first token in the row, `[N]` of int64
    pub(crate) first_tokens: Tensor,
    /// Where the first text begins, and where each ends, `[N+1]` of int32
    cu_seqlens: Tensor,
    /// The tokens of each text
    lengths: Vec<i64>,
    kernel: VarlenKernel,
}

/// What computes attention over texts of different lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VarlenKernel {
    /// FlashAttention: half precision, since the Ampere generation
    Flash,
    /// The memory-efficient kernel of CUTLASS: any dtype and generation
    Efficient,
    /// One text after another, by the operator that a padded batch has: any device
    EachText,
}

impl Ragged {
    /// Texts of `lengths` tokens, whose ids and types lie one after the other.
    pub(crate) fn new(
        [input_ids, token_type_ids]: [&[i64]; 2],
        lengths: &[usize],
        device: tch::Device,
        kernel: VarlenKernel,
    ) -> Result<Self> {
        let lengths: Vec<_> = lengths.iter().map(|length| *length as i64).collect();
        let (tokens, texts) = (input_ids.len() as i64, lengths.len() as i64);
        let mut starts = vec![0];
        starts.extend(lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        }));
        let mut all = Vec::with_capacity(3 * input_ids.len() + starts.len());
        all.extend_from_slice(input_ids);
        all.extend_from_slice(token_type_ids);
        lengths.iter().for_each(|length| all.extend(0..*length));
        all.extend_from_slice(&starts);
        // One copy to the device, not four.
        let all = Tensor::f_from_slice(&all)?.f_to_device(device)?;
        let row = |number: i64| all.f_narrow(0, number * tokens, tokens)?.f_unsqueeze(0);
        let starts = all.f_narrow(0, 3 * tokens, texts + 1)?;
        Ok(Self {
            input_ids: row(0)?,
            token_type_ids: row(1)?,
            position_ids: row(2)?,
            first_tokens: starts.f_narrow(0, 0, texts)?,
            cu_seqlens: starts.f_to_kind(Kind::Int)?,
            lengths,
            kernel,
        })
    }

    /// query, key and value beside one another `[1,T,3H]` -> `[1,T,H]`; every
    /// token attends to those of its own text. The scale is `1/sqrt(head_dim)`.
    pub(crate) fn attention(&self, qkv: &Tensor, heads: [i64; 2]) -> Result<Tensor> {
        let [count, head_dim] = heads;
        let qkv = qkv.f_view([-1, 3, count, head_dim])?;
        let [query, key, value] = [0, 1, 2].map(|part| qkv.f_select(1, part));
        let (query, key, value) = (query?, key?, value?);
        let context = match self.kernel {
            VarlenKernel::EachText => self.each_text([&query, &key, &value])?,
            kernel => torchscript::varlen_attention(
                [&query, &key, &value],
                &self.cu_seqlens,
                self.lengths.iter().copied().max().unwrap_or(0),
                kernel == VarlenKernel::Flash,
            )?,
        };
        Ok(context.f_reshape([1, -1, count * head_dim])?)
    }

    /// `[T,heads,head_dim]` each -> the same
    fn each_text(&self, qkv: [&Tensor; 3]) -> Result<Tensor> {
        let mut start = 0;
        let mut contexts = Vec::with_capacity(self.lengths.len());
        for length in &self.lengths {
            // `[1,heads,S,head_dim]`, as of a batch of one.
            let [query, key, value] =
                qkv.map(|part| part.f_narrow(0, start, *length)?.f_transpose(0, 1)?.f_unsqueeze(0));
            let (dropout_p, is_causal, enable_gqa) = (0., false, false);
            let context = Tensor::f_scaled_dot_product_attention(
                &query?,
                &key?,
                &value?,
                None::<&Tensor>,
                dropout_p,
                is_causal,
                None,
                enable_gqa,
            )?;
            contexts.push(context.f_squeeze_dim(0)?.f_transpose(0, 1)?);
            start += length;
        }
        Ok(Tensor::f_cat(&contexts, 0)?)
    }

    /// What was computed for tokens `[1,T,..]`, as `[N*S,..]`, `S` the given length:
    /// zeros after the end of each text.
    pub(crate) fn padded(&self, tokens: &Tensor, length: i64) -> Result<Tensor> {
        let tokens = tokens.f_squeeze_dim(0)?;
        if self.lengths.iter().all(|own| *own == length) {
            return Ok(tokens);
        }
        let mut shape = tokens.size();
        shape[0] = self.lengths.len() as i64 * length;
        let padded = Tensor::f_zeros(&shape, (tokens.f_kind()?, tokens.device()))?;
        // The place of a token is its row's beginning and its place in the text.
        let rows = self.lengths.iter().zip((0..).step_by(length as usize));
        let rows: Vec<i64> = rows.flat_map(|(own, row)| repeat_n(row, *own as usize)).collect();
        let rows = Tensor::f_from_slice(&rows)?.f_to_device(tokens.device())?;
        let places = rows.f_add(&self.position_ids.f_squeeze_dim(0)?)?;
        Ok(padded.f_index_copy(0, &places, &tokens)?)
    }
}
