//! From the hidden states of a batch to embeddings: of rows without padding, and of
//! padded tensors.

#![expect(clippy::disallowed_methods, reason = "works on results, records no trace")]

use super::batches::{mask, rows};
use crate::error::Result;
use crate::memory::{collect, with_capacity};
use crate::packed::{Packed, PackedInputs};
use crate::text::{Encoding, PoolingMode, Recipe};
use bertscript_kernels::{Matrix, Solo, Team};
use std::ops::Range;
use tch::{Kind, Tensor};

/// Embeds texts without padding. The first tokens of each, as many as `left_out` says,
/// take no part in pooling.
pub(super) fn embed_packed(
    packed: &Packed,
    inputs: &PackedInputs,
    team: &dyn Team,
    recipe: &Recipe,
    left_out: &[usize],
) -> Result<Matrix<f32>> {
    let (modes, _) = recipe.pools()?;
    let mut tokens = pooled_tokens(&inputs.lengths, modes, left_out)?;
    let few = modes.iter().all(|mode| mode.takes_one_token());
    let only = few.then(|| collect(tokens.iter().cloned().flatten())).transpose()?;
    if few {
        // Only they have rows, one after another.
        let mut next = 0;
        for rows in &mut tokens {
            *rows = next..next + rows.len();
            next = rows.end;
        }
    }
    packed.hidden_states(inputs, only.as_deref(), team, |hidden| {
        recipe.embed(team, hidden, |rows| pool_rows(rows, &tokens, modes, left_out))
    })
}

/// Embeds texts of padded hidden states `[B,S,H]`, row by row.
pub(super) fn embed_padded(
    hidden: &Tensor,
    batch: &[&Encoding],
    recipe: &Recipe,
    left_out: &[usize],
) -> Result<Matrix<f32>> {
    let (modes, _) = recipe.pools()?;
    let lengths = collect(batch.iter().map(|encoding| encoding.len()))?;
    let padded = rows(hidden)?;
    let longest = padded.len() / batch.len().max(1);
    let texts = padded.chunks(longest.max(1)).zip(&lengths);
    let unpadded = texts.flat_map(|(text, length)| text.iter().take(*length));
    let hidden = matrix(unpadded.map(Vec::as_slice))?;
    let tokens = pooled_tokens(&lengths, modes, left_out)?;
    recipe.embed(&Solo, &hidden, |rows| pool_rows(rows, &tokens, modes, left_out))
}

/// Pools padded hidden states `[B,S,H]` where they are, to `[B,M*H]` for M modes, and
/// begins to bring the result to the CPU.
pub(super) fn pool_padded(
    hidden: &Tensor,
    batch: &[&Encoding],
    modes: &[PoolingMode],
    left_out: &[usize],
) -> Result<Tensor> {
    let mask = mask(batch)?;
    for (row, left_out) in left_out.iter().enumerate() {
        let mask = mask.f_select(0, row as i64)?;
        let _ = mask.f_slice(0, 0, *left_out as i64, 1)?.f_zero_()?;
    }
    let mask = mask.f_to_device(hidden.device())?;
    let pooled = modes.iter().map(|mode| mode.pool(hidden, &mask));
    let pooled = Tensor::f_cat(&pooled.collect::<Result<Vec<_>>>()?, -1)?;
    // From a device into pinned memory, behind what was launched.
    let non_blocking = true;
    Ok(pooled.f_internal_to_copy((Kind::Float, tch::Device::Cpu), non_blocking)?)
}

/// What follows pooling.
pub(super) fn after_pooling(pooled: &Tensor, recipe: &Recipe) -> Result<Matrix<f32>> {
    recipe.after_pooling(&Solo, matrix(rows(pooled)?.iter().map(Vec::as_slice))?)
}

/// For each text, for each mode: the tokens it looks at.
fn pooled_tokens(
    lengths: &[usize],
    modes: &[PoolingMode],
    left_out: &[usize],
) -> Result<Vec<Range<usize>>> {
    let mut tokens = with_capacity(left_out.len() * modes.len())?;
    let mut start = 0;
    for (length, left_out) in lengths.iter().zip(left_out) {
        let text = start..start + length;
        tokens.extend(modes.iter().map(|mode| mode.tokens(&text, *left_out)));
        start = text.end;
    }
    Ok(tokens)
}

/// Pools rows, given for each text and mode those it looks at, to `[B,M*H]`.
fn pool_rows(
    hidden: &Matrix<f32>,
    tokens: &[Range<usize>],
    modes: &[PoolingMode],
    left_out: &[usize],
) -> Result<Matrix<f32>> {
    let width = hidden.width();
    let mut pooled = Matrix::new(modes.len() * width);
    pooled.set_rows(left_out.len())?;
    let mut tokens = tokens.iter();
    for (text, left_out) in left_out.iter().enumerate() {
        let parts = pooled.row_mut(text).chunks_exact_mut(width);
        for ((mode, part), rows) in modes.iter().zip(parts).zip(&mut tokens) {
            mode.pool_rows(hidden, rows.clone(), *left_out, part)?;
        }
    }
    Ok(pooled)
}

fn matrix<'a>(rows: impl Iterator<Item = &'a [f32]>) -> Result<Matrix<f32>> {
    let rows = collect(rows)?;
    let mut matrix = Matrix::new(rows.first().map_or(0, |row| row.len()));
    matrix.set_rows(rows.len())?;
    rows.iter().enumerate().for_each(|(row, values)| matrix.row_mut(row).copy_from_slice(values));
    Ok(matrix)
}
