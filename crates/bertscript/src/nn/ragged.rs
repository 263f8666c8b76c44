//! Texts of different lengths in one row, without padding.
//!
//! Source: `varlen_attn`, <https://github.com/pytorch/pytorch/blob/v2.11.0/torch/nn/attention/varlen.py>;
//! Dao 2023, <https://arxiv.org/abs/2307.08691>

#![expect(clippy::disallowed_methods, reason = "computes a call's own batch, records no trace")]

use crate::error::Result;
use crate::memory::{collect, filled, with_capacity};
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
    /// How many a text has at most
    longest: i64,
    kernel: VarlenKernel,
}

/// How many tokens and texts a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RaggedShape {
    pub(crate) tokens: usize,
    pub(crate) texts: usize,
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
    /// Over a [`RaggedShape::buffer`] that is on the device.
    pub(crate) fn over(
        buffer: &Tensor,
        shape: RaggedShape,
        lengths: &[usize],
        longest: usize,
        kernel: VarlenKernel,
    ) -> Result<Self> {
        let [tokens, texts] = [shape.tokens as i64, shape.texts as i64];
        let row = |number: i64| buffer.f_narrow(0, number * tokens, tokens)?.f_unsqueeze(0);
        Ok(Self {
            input_ids: row(0)?,
            token_type_ids: row(1)?,
            position_ids: row(2)?,
            first_tokens: buffer.f_narrow(0, 3 * tokens, texts)?,
            cu_seqlens: buffer.f_narrow(0, 3 * tokens + texts, texts + 1)?.f_to_kind(Kind::Int)?,
            lengths: collect(lengths.iter().map(|length| *length as i64))?,
            longest: longest as i64,
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
                self.longest,
                kernel == VarlenKernel::Flash,
            )?,
        };
        Ok(context.f_reshape([1, -1, count * head_dim])?)
    }

    /// `[T,heads,head_dim]` each -> the same
    fn each_text(&self, qkv: [&Tensor; 3]) -> Result<Tensor> {
        let mut start = 0;
        let mut contexts = with_capacity(self.lengths.len())?;
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
}

impl RaggedShape {
    /// Ids, types, positions, first tokens and `cu_seqlens` one after the other, to be
    /// brought to a device by one copy. Texts that are fewer than those of the shape
    /// are followed by empty ones, and a last one that holds the tokens left.
    pub(crate) fn buffer(
        self,
        [input_ids, token_type_ids]: [&[i64]; 2],
        lengths: &[usize],
    ) -> Result<Vec<i64>> {
        let Self { tokens, texts } = self;
        let mut buffer = filled(3 * tokens + 2 * texts + 1, 0)?;
        let (ids, rest) = buffer.split_at_mut(tokens);
        let (types, rest) = rest.split_at_mut(tokens);
        let (positions, rest) = rest.split_at_mut(tokens);
        let (first_tokens, cu_seqlens) = rest.split_at_mut(texts);
        ids[..input_ids.len()].copy_from_slice(input_ids);
        types[..token_type_ids.len()].copy_from_slice(token_type_ids);
        let places = lengths.iter().flat_map(|length| 0..*length as i64);
        positions.iter_mut().zip(places).for_each(|(to, place)| *to = place);
        cu_seqlens.fill(input_ids.len() as i64);
        let mut start = 0;
        for (text, length) in lengths.iter().enumerate() {
            first_tokens[text] = start;
            cu_seqlens[text] = start;
            start += *length as i64;
        }
        cu_seqlens[texts] = tokens as i64;
        Ok(buffer)
    }
}

/// What was computed for texts in one row `[1,T,..]`, as `[N*S,..]`, `S` the given
/// length: zeros after the end of each text. What else is in the row is left out.
pub(crate) fn padded(found: &Tensor, lengths: &[usize], length: usize) -> Result<Tensor> {
    let tokens: usize = lengths.iter().sum();
    let found = found.f_squeeze_dim(0)?.f_narrow(0, 0, tokens as i64)?;
    if lengths.iter().all(|own| *own == length) {
        return Ok(found);
    }
    let mut shape = found.size();
    shape[0] = (lengths.len() * length) as i64;
    let padded = Tensor::f_zeros(&shape, (found.f_kind()?, found.device()))?;
    let rows = lengths.iter().enumerate();
    let places = rows.flat_map(|(row, own)| row * length..row * length + own);
    let places = collect(places.map(|place| place as i64))?;
    let places = Tensor::f_from_slice(&places)?.f_to_device(found.device())?;
    Ok(padded.f_index_copy(0, &places, &found)?)
}
