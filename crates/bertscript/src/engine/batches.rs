//! Cutting many sequences into batches.

use crate::device::Device;
use crate::error::Result;
use crate::memory::reserve;
use crate::shapes::{FixedShape, Shapes};
use std::ops::Range;

/// The max number of tokens of a batch of several sequences, unless told otherwise. On a
/// CUDA device a batch must take longer than launching it.
pub(super) fn suitable_tokens(device: Device) -> usize {
    match device {
        Device::Cpu => 4096,
        Device::Cuda(_) => 32768,
    }
}

/// Ranges of sequences of about as many tokens as are wanted when so many are left.
pub(super) fn by_tokens(
    lengths: &[usize],
    wanted: impl Fn(usize) -> usize,
) -> Result<Vec<Range<usize>>> {
    let (mut batches, mut start, mut tokens) = (Vec::new(), 0, 0);
    let mut left: usize = lengths.iter().sum();
    for (index, length) in lengths.iter().enumerate() {
        if tokens > 0 && tokens + length > wanted(left) {
            reserve(&mut batches, 1)?;
            batches.push(start..index);
            left -= tokens;
            (start, tokens) = (index, 0);
        }
        tokens += length;
    }
    if start < lengths.len() {
        reserve(&mut batches, 1)?;
        batches.push(start..lengths.len());
    }
    Ok(batches)
}

/// Ranges of sequences, the longest first, that keep to `max_tokens` when they are padded to
/// their longest; for code of fixed shapes, that fit one of them.
pub(super) fn by_padded_tokens(
    lengths: &[usize],
    max_tokens: usize,
    shapes: &Shapes,
) -> Result<Vec<Range<usize>>> {
    let (mut batches, mut start) = (Vec::new(), 0);
    while let Some(longest) = lengths.get(start) {
        let longest = (*longest).max(1);
        let count = match shapes {
            Shapes::Any => max_tokens / longest,
            Shapes::Fixed(shapes) => {
                let sizes = shapes.iter().map(FixedShape::sizes);
                let fits = sizes.filter(|sizes| sizes[sizes.len() - 1] as usize >= longest);
                fits.map(|sizes| sizes[0] as usize).max().unwrap_or(1)
            }
        };
        let end = start + count.clamp(1, lengths.len() - start);
        reserve(&mut batches, 1)?;
        batches.push(start..end);
        start = end;
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_keep_to_the_budget_and_lose_no_sequence() {
        let lengths = [100, 50, 7, 7, 3, 2, 1, 0];
        for budget in [1, 10, 100, 1000] {
            let batches = by_padded_tokens(&lengths, budget, &Shapes::Any).unwrap();
            let all: Vec<_> = batches.iter().cloned().flatten().collect();
            assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
            for batch in batches {
                let longest = lengths[batch.start];
                assert!(batch.len() == 1 || batch.len() * longest <= budget);
            }
        }
        assert!(by_padded_tokens(&[], 10, &Shapes::Any).unwrap().is_empty());
    }

    #[test]
    fn batches_fit_a_fixed_shape() {
        let shapes = ["1x64", "3x16"].map(|shape| shape.parse().unwrap());
        let shapes = Shapes::from(shapes.to_vec());
        let batches = by_padded_tokens(&[60, 10, 10, 10, 10], 1 << 20, &shapes).unwrap();
        assert_eq!(batches, [0..1, 1..4, 4..5]);
    }
}
