//! Sequences of different lengths in one row, without padding.
//!
//! Source: `varlen_attn`, <https://github.com/pytorch/pytorch/blob/v2.11.0/torch/nn/attention/varlen.py>;
//! Dao 2023, <https://arxiv.org/abs/2307.08691>

mod scores;

pub(crate) use scores::{OfColumns, VarlenScores};

use super::{DisentangledScores, DistanceVectors};
use crate::attention::Attention;
use crate::error::{Error, ErrorKind, Result};
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
    columns: Tensor,
    /// The index of each sequence's first token, `[N]` of int64
    pub(crate) first_tokens: Tensor,
    /// Where the first sequence begins, and where each ends, `[N+1]` of int32
    cu_seqlens: Tensor,
    /// The tokens of each sequence
    lengths: Vec<i64>,
    /// What the tokens of each sequence attend to; empty if all attend to all of theirs
    keys: Vec<Keys>,
    /// Which tokens take part, `[1,T]` of bool, if not all of them do
    tokens: Option<Tensor>,
    /// `N`
    sequences: i64,
    max_length: i64,
    /// More than any column
    width: i64,
    has_holes: bool,
    kernel: VarlenKernel,
}

/// The sequences of a row, as the host knows them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sequences<'a> {
    /// `[N]`; empty where a captured graph has them on its device only
    pub(crate) lengths: &'a [usize],
    /// `[N]`, or empty
    pub(crate) keys: &'a [Keys],
    /// Which tokens take part, `[1,T]` of bool on the device, if masked ones are in the row
    pub(crate) tokens: Option<&'a Tensor>,
    pub(crate) max_length: usize,
    /// More than any column
    pub(crate) width: usize,
    /// Whether to go through the sequences one by one: kernels take tokens beside one another
    /// for such that follow one another
    pub(crate) each_sequence: bool,
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
    /// different lengths take no bias, and but for FlashAttention no window
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
        let Sequences { lengths, keys, tokens: members, max_length, width, each_sequence } =
            of_host;
        let [tokens, sequences] = [shape.tokens as i64, shape.sequences as i64];
        let row = |index: i64| buffer.f_narrow(0, index * tokens, tokens)?.f_unsqueeze(0);
        let cu_seqlens = buffer.f_narrow(0, 4 * tokens + sequences, sequences + 1)?;
        let is_masked = keys.iter().any(|keys| *keys != Keys::All) || members.is_some();
        Ok(Self {
            input_ids: row(0)?,
            token_type_ids: row(1)?,
            position_ids: row(2)?,
            columns: buffer.f_narrow(0, 3 * tokens, tokens)?,
            first_tokens: buffer.f_narrow(0, 4 * tokens, sequences)?,
            cu_seqlens: cu_seqlens.f_to_kind(Kind::Int)?,
            lengths: collect(lengths.iter().map(|length| *length as i64))?,
            keys: copied(if is_masked { keys } else { &[] })?,
            tokens: members.map(Tensor::shallow_clone),
            sequences,
            max_length: max_length as i64,
            width: width as i64,
            has_holes: each_sequence,
            kernel: if is_masked || each_sequence { VarlenKernel::EachSequence } else { kernel },
        })
    }

    /// Where each token is in its sequence, `[T]` of int64
    pub(crate) fn columns(&self) -> &Tensor {
        &self.columns
    }

    /// Which tokens take part, `[1,T]` of bool, if not all of them do
    pub(crate) fn tokens(&self) -> Option<&Tensor> {
        self.tokens.as_ref()
    }

    /// query, key and value `[T,heads,head_dim]` each -> `[1,T,H]`; every
    /// token attends to those of its own sequence that are keys. The scale is
    /// `1/sqrt(head_dim)`, but of disentangled attention.
    pub(crate) fn attention(
        &self,
        query_key_value: [&Tensor; 3],
        scores: &VarlenScores,
        distances: Option<&DistanceVectors>,
    ) -> Result<Tensor> {
        let context = match scores {
            VarlenScores::Kernel { window } => torchscript::varlen_attention(
                query_key_value,
                &self.cu_seqlens,
                self.max_length,
                self.kernel == VarlenKernel::Flash,
                *window,
            )?,
            VarlenScores::EachSequence(OfColumns::Distances(rows)) => {
                self.each_disentangled(query_key_value, rows, wanted(distances)?)?
            }
            VarlenScores::EachSequence(OfColumns::Mask(mask)) => {
                self.each_sequence(query_key_value, Some(mask))?
            }
            VarlenScores::EachSequence(OfColumns::Nothing) => {
                self.each_sequence(query_key_value, None)?
            }
            VarlenScores::Padded(padded) => padded.attention(query_key_value, distances)?,
        };
        Ok(context.f_flatten(1, 2)?.f_unsqueeze(0)?)
    }

    /// `[T,heads,head_dim]` each, mask `[1,heads,width,width]` or `[1,1,width,width]` of bool or
    /// to be added -> `[T,heads,head_dim]`
    fn each_sequence(
        &self,
        [query, key, value]: [&Tensor; 3],
        mask: Option<&Tensor>,
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
                let mask = match mask {
                    // As a rule, nothing is copied.
                    Some(mask) if keys == Keys::All && !self.has_holes => {
                        Some(mask.f_narrow(2, 0, *length)?.f_narrow(3, 0, *length)?)
                    }
                    Some(mask) if keys != Keys::Uniform => {
                        let columns = self.columns.f_narrow(0, start, *length)?;
                        let of_keys = columns.f_narrow(0, skipped, *length - skipped)?;
                        Some(mask.f_index_select(2, &columns)?.f_index_select(3, &of_keys)?)
                    }
                    _ => None,
                };
                let (dropout_p, is_causal, enable_gqa) = (0., false, false);
                Tensor::f_scaled_dot_product_attention(
                    &own,
                    &part(key, start + skipped, *length - skipped)?,
                    &part(value, start + skipped, *length - skipped)?,
                    mask,
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

    /// `[T,heads,head_dim]` each, the rows of distances `[1,1,width,width]` ->
    /// `[T,heads,head_dim]`. All tokens of a sequence are in its row, masked or not.
    fn each_disentangled(
        &self,
        query_key_value: [&Tensor; 3],
        rows: &Tensor,
        distances: &DistanceVectors,
    ) -> Result<Tensor> {
        let mut start = 0;
        let mut contexts = with_capacity(self.lengths.len())?;
        for length in &self.lengths {
            let columns = self.columns.f_narrow(0, start, *length)?;
            let rows = rows.f_index_select(2, &columns)?.f_index_select(3, &columns)?;
            let tokens = match &self.tokens {
                Some(tokens) => tokens.f_narrow(1, start, *length)?,
                None => columns.f_ones_like()?.f_unsqueeze(0)?,
            };
            let is_masked = self.tokens.is_some();
            let own = |part: &Tensor| -> Result<Tensor> {
                Ok(part.f_narrow(0, start, *length)?.f_transpose(0, 1)?.f_unsqueeze(0)?)
            };
            let [query, key, value] = query_key_value.map(own);
            let scores = DisentangledScores::new(&rows, &tokens, distances.num_heads(), is_masked)?;
            let qkv = [&query?, &key?, &value?];
            let context = distances.attention(Attention::Sdpa, qkv, &scores)?.0;
            contexts.push(context.f_squeeze_dim(0)?.f_transpose(0, 1)?);
            start += length;
        }
        Ok(Tensor::f_cat(&contexts, 0)?)
    }

    /// The sequence that each token is of, `[N,T]` of bool; of none, what is left over in a
    /// captured graph, and a masked token.
    pub(crate) fn members(&self) -> Result<Tensor> {
        let count = self.sequences;
        let row = self.columns.f_ones_like()?.f_cumsum(0, Kind::Int64)?.f_sub_scalar(1)?;
        let starts = self.cu_seqlens.f_narrow(0, 0, count)?.f_unsqueeze(1)?;
        let ends = self.cu_seqlens.f_narrow(0, 1, count)?.f_unsqueeze(1)?;
        let members = row.f_ge_tensor(&starts)?.f_logical_and(&row.f_less_tensor(&ends)?)?;
        let members = match &self.tokens {
            Some(tokens) => members.f_logical_and(tokens)?,
            None => members,
        };
        let mut rows = Vec::new();
        for (index, keys) in self.keys.iter().enumerate() {
            let row = members.f_narrow(0, index as i64, 1)?;
            rows.push(match keys {
                Keys::All => row,
                Keys::AllButFirst => {
                    let first = self.first_tokens.f_narrow(0, index as i64, 1)?;
                    row.f_index_fill(1, &first, 0)?
                }
                Keys::None | Keys::Uniform => row.f_zeros_like()?,
            });
        }
        if rows.is_empty() { Ok(members) } else { Ok(Tensor::f_cat(&rows, 0)?) }
    }
}

/// Those of a layer whose attention takes them.
fn wanted(distances: Option<&DistanceVectors>) -> Result<&DistanceVectors> {
    distances.ok_or_else(|| Error::new(ErrorKind::Config, "the layer has no vectors of distances"))
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
