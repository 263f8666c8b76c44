//! Sequences of different lengths in one row, without padding.
//!
//! Source: `varlen_attn`, <https://github.com/pytorch/pytorch/blob/v2.11.0/torch/nn/attention/varlen.py>;
//! Dao 2023, <https://arxiv.org/abs/2307.08691>

mod bias;

pub(crate) use bias::VarlenBias;

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
    /// Where each token is in its sequence, `[T]` of int64
    columns: Tensor,
    /// The index of each sequence's first token, `[N]` of int64
    pub(crate) first_tokens: Tensor,
    /// Where the first sequence begins, and where each ends, `[N+1]` of int32
    cu_seqlens: Tensor,
    /// The tokens of each sequence
    lengths: Vec<i64>,
    /// What the tokens of each sequence attend to; empty if all attend to all of theirs
    keys: Vec<Keys>,
    max_length: i64,
    /// More than any column
    width: i64,
    kernel: VarlenKernel,
}

/// The sequences of a row, as the host knows them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sequences<'a> {
    /// `[N]`; empty where a captured graph has them on its device only
    pub(crate) lengths: &'a [usize],
    /// `[N]`, or empty
    pub(crate) keys: &'a [Keys],
    pub(crate) max_length: usize,
    /// More than any column
    pub(crate) width: usize,
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
    /// All of them padded to the longest, inside attention only: kernels for sequences of
    /// different lengths take no bias
    Padded,
}

impl VarlenBatch {
    /// Over a [`VarlenShape::buffer`] that is on the device. With masked tokens, attention
    /// goes through the sequences one by one.
    pub(crate) fn over(
        buffer: &Tensor,
        shape: VarlenShape,
        of_host: Sequences<'_>,
        kernel: VarlenKernel,
    ) -> Result<Self> {
        let Sequences { lengths, keys, max_length, width } = of_host;
        let [tokens, sequences] = [shape.tokens as i64, shape.sequences as i64];
        let row = |index: i64| buffer.f_narrow(0, index * tokens, tokens)?.f_unsqueeze(0);
        let cu_seqlens = buffer.f_narrow(0, 4 * tokens + sequences, sequences + 1)?;
        let is_masked = keys.iter().any(|keys| *keys != Keys::All);
        Ok(Self {
            input_ids: row(0)?,
            token_type_ids: row(1)?,
            position_ids: row(2)?,
            columns: buffer.f_narrow(0, 3 * tokens, tokens)?,
            first_tokens: buffer.f_narrow(0, 4 * tokens, sequences)?,
            cu_seqlens: cu_seqlens.f_to_kind(Kind::Int)?,
            lengths: collect(lengths.iter().map(|length| *length as i64))?,
            keys: copied(if is_masked { keys } else { &[] })?,
            max_length: max_length as i64,
            width: width as i64,
            kernel: if is_masked { VarlenKernel::EachSequence } else { kernel },
        })
    }

    /// query, key and value beside one another `[1,T,3H]` -> `[1,T,H]`; every
    /// token attends to those of its own sequence that are keys. The scale is
    /// `1/sqrt(head_dim)`.
    pub(crate) fn attention(
        &self,
        qkv: &Tensor,
        heads: [i64; 2],
        bias: Option<&VarlenBias>,
    ) -> Result<Tensor> {
        let [num_heads, head_dim] = heads;
        let qkv = qkv.f_view([-1, 3, num_heads, head_dim])?;
        let [query, key, value] = [0, 1, 2].map(|part| qkv.f_select(1, part));
        let (query, key, value) = (query?, key?, value?);
        let context = match (bias, self.kernel) {
            (Some(VarlenBias::Padded(padded)), _) => padded.attention([&query, &key, &value])?,
            (Some(VarlenBias::EachSequence(bias)), _) => {
                self.each_sequence([&query, &key, &value], Some(bias))?
            }
            (None, VarlenKernel::EachSequence | VarlenKernel::Padded) => {
                self.each_sequence([&query, &key, &value], None)?
            }
            (None, kernel) => torchscript::varlen_attention(
                [&query, &key, &value],
                &self.cu_seqlens,
                self.max_length,
                kernel == VarlenKernel::Flash,
            )?,
        };
        Ok(context.f_reshape([1, -1, num_heads * head_dim])?)
    }

    /// `[T,heads,head_dim]` each, bias `[1,heads,width,width]` -> `[T,heads,head_dim]`
    fn each_sequence(
        &self,
        [query, key, value]: [&Tensor; 3],
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
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
                let bias = match bias {
                    Some(bias) if keys != Keys::Uniform => {
                        let columns = self.columns.f_narrow(0, start, *length)?;
                        let of_keys = columns.f_narrow(0, skipped, *length - skipped)?;
                        Some(bias.f_index_select(2, &columns)?.f_index_select(3, &of_keys)?)
                    }
                    _ => None,
                };
                let (dropout_p, is_causal, enable_gqa) = (0., false, false);
                Tensor::f_scaled_dot_product_attention(
                    &own,
                    &part(key, start + skipped, *length - skipped)?,
                    &part(value, start + skipped, *length - skipped)?,
                    bias,
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
    /// Ids, types, positions, columns, first tokens and `cu_seqlens` one after the other, to be
    /// brought to a device by one copy. Sequences that are fewer than those of the shape
    /// are followed by empty ones, and a last one that holds the tokens left.
    pub(crate) fn buffer(self, of_tokens: [&[i64]; 4], starts: &[usize]) -> Result<Vec<i64>> {
        let Self { tokens, sequences } = self;
        let mut buffer = filled(4 * tokens + 2 * sequences + 1, 0)?;
        let (rows, rest) = buffer.split_at_mut(4 * tokens);
        let (first_tokens, cu_seqlens) = rest.split_at_mut(sequences);
        for (row, values) in rows.chunks_mut(tokens).zip(of_tokens) {
            row[..values.len()].copy_from_slice(values);
        }
        cu_seqlens.fill(of_tokens[0].len() as i64);
        for (sequence, start) in starts.iter().enumerate() {
            first_tokens[sequence] = *start as i64;
            cu_seqlens[sequence] = *start as i64;
        }
        cu_seqlens[sequences] = tokens as i64;
        Ok(buffer)
    }
}
