//! Sequences of different lengths in one row, without padding.
//!
//! Source: `varlen_attn`, <https://github.com/pytorch/pytorch/blob/v2.11.0/torch/nn/attention/varlen.py>;
//! Dao 2023, <https://arxiv.org/abs/2307.08691>

use crate::error::Result;
use crate::memory::{collect, copied, filled, with_capacity};
use bertscript_kernels::Keys;
use tch::{Kind, Tensor};

/// A row `[1,T]` that holds `N` sequences, one after the other, on a device.
#[derive(Debug)]
pub(crate) struct VarlenBatch {
    /// `[1,T]` of int64
    pub(crate) input_ids: Tensor,
    /// `[1,T]` of int64
    pub(crate) token_type_ids: Tensor,
    /// `[1,T]` of int64
    pub(crate) position_ids: Tensor,
    /// The index of each sequence's first token, `[N]` of int64
    pub(crate) first_tokens: Tensor,
    /// Where the first sequence begins, and where each ends, `[N+1]` of int32
    cu_seqlens: Tensor,
    /// The tokens of each sequence
    lengths: Vec<i64>,
    /// What the tokens of each sequence attend to; empty if all attend to all of theirs
    keys: Vec<Keys>,
    max_length: i64,
    kernel: VarlenKernel,
}

/// The numbers of tokens and of sequences in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct VarlenShape {
    pub(crate) tokens: usize,
    pub(crate) sequences: usize,
}

/// What computes attention over sequences of different lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VarlenKernel {
    /// FlashAttention: half precision, since the Ampere generation
    Flash,
    /// The memory-efficient kernel of CUTLASS: any dtype and generation
    Efficient,
    /// One sequence after another, by the operator that a padded batch has: any device
    EachSequence,
}

impl VarlenBatch {
    /// Over a [`VarlenShape::buffer`] that is on the device. With masked tokens, attention
    /// goes through the sequences one by one.
    pub(crate) fn over(
        buffer: &Tensor,
        shape: VarlenShape,
        (lengths, keys): (&[usize], &[Keys]),
        max_length: usize,
        kernel: VarlenKernel,
    ) -> Result<Self> {
        let [tokens, sequences] = [shape.tokens as i64, shape.sequences as i64];
        let row = |index: i64| buffer.f_narrow(0, index * tokens, tokens)?.f_unsqueeze(0);
        let cu_seqlens = buffer.f_narrow(0, 3 * tokens + sequences, sequences + 1)?;
        let is_masked = keys.iter().any(|keys| *keys != Keys::All);
        Ok(Self {
            input_ids: row(0)?,
            token_type_ids: row(1)?,
            position_ids: row(2)?,
            first_tokens: buffer.f_narrow(0, 3 * tokens, sequences)?,
            cu_seqlens: cu_seqlens.f_to_kind(Kind::Int)?,
            lengths: collect(lengths.iter().map(|length| *length as i64))?,
            keys: copied(if is_masked { keys } else { &[] })?,
            max_length: max_length as i64,
            kernel: if is_masked { VarlenKernel::EachSequence } else { kernel },
        })
    }

    /// query, key and value beside one another `[1,T,3H]` -> `[1,T,H]`; every
    /// token attends to those of its own sequence that are keys. The scale is
    /// `1/sqrt(head_dim)`.
    pub(crate) fn attention(&self, qkv: &Tensor, heads: [i64; 2]) -> Result<Tensor> {
        let [num_heads, head_dim] = heads;
        let qkv = qkv.f_view([-1, 3, num_heads, head_dim])?;
        let [query, key, value] = [0, 1, 2].map(|part| qkv.f_select(1, part));
        let (query, key, value) = (query?, key?, value?);
        let context = match self.kernel {
            VarlenKernel::EachSequence => self.each_sequence([&query, &key, &value])?,
            kernel => torchscript::varlen_attention(
                [&query, &key, &value],
                &self.cu_seqlens,
                self.max_length,
                kernel == VarlenKernel::Flash,
            )?,
        };
        Ok(context.f_reshape([1, -1, num_heads * head_dim])?)
    }

    /// `[T,heads,head_dim]` each -> the same
    fn each_sequence(&self, [query, key, value]: [&Tensor; 3]) -> Result<Tensor> {
        let mut start = 0;
        let mut contexts = with_capacity(self.lengths.len())?;
        for (index, length) in self.lengths.iter().enumerate() {
            let keys = self.keys.get(index).copied().unwrap_or_default();
            // `[1,heads,S,head_dim]`, as of a batch of one.
            let part = |part: &Tensor, start: i64, length: i64| {
                part.f_narrow(0, start, length)?.f_transpose(0, 1)?.f_unsqueeze(0)
            };
            let own = part(query, start, *length)?;
            let skipped = match keys {
                Keys::All | Keys::Uniform => 0,
                Keys::AllButFirst => 1,
                Keys::None => *length,
            };
            let context = if skipped == *length {
                own.f_zeros_like()?
            } else {
                let (dropout_p, is_causal, enable_gqa) = (0., false, false);
                Tensor::f_scaled_dot_product_attention(
                    &own,
                    &part(key, start + skipped, *length - skipped)?,
                    &part(value, start + skipped, *length - skipped)?,
                    None::<&Tensor>,
                    dropout_p,
                    is_causal,
                    // Equal scores have equal probabilities.
                    (keys == Keys::Uniform).then_some(0.),
                    enable_gqa,
                )?
            };
            contexts.push(context.f_squeeze_dim(0)?.f_transpose(0, 1)?);
            start += length;
        }
        Ok(Tensor::f_cat(&contexts, 0)?)
    }
}

impl VarlenShape {
    /// Ids, types, positions, first tokens and `cu_seqlens` one after the other, to be
    /// brought to a device by one copy. Sequences that are fewer than those of the shape
    /// are followed by empty ones, and a last one that holds the tokens left.
    pub(crate) fn buffer(
        self,
        [input_ids, token_type_ids, position_ids]: [&[i64]; 3],
        starts: &[usize],
    ) -> Result<Vec<i64>> {
        let Self { tokens, sequences } = self;
        let mut buffer = filled(3 * tokens + 2 * sequences + 1, 0)?;
        let (ids, rest) = buffer.split_at_mut(tokens);
        let (types, rest) = rest.split_at_mut(tokens);
        let (positions, rest) = rest.split_at_mut(tokens);
        let (first_tokens, cu_seqlens) = rest.split_at_mut(sequences);
        ids[..input_ids.len()].copy_from_slice(input_ids);
        types[..token_type_ids.len()].copy_from_slice(token_type_ids);
        positions[..position_ids.len()].copy_from_slice(position_ids);
        cu_seqlens.fill(input_ids.len() as i64);
        for (sequence, start) in starts.iter().enumerate() {
            first_tokens[sequence] = *start as i64;
            cu_seqlens[sequence] = *start as i64;
        }
        cu_seqlens[sequences] = tokens as i64;
        Ok(buffer)
    }
}
