//! Functions of logits.

use crate::error::Result;
use crate::memory::collect;

/// `softmax` of one row.
pub(super) fn softmax(logits: &[f32]) -> Result<Vec<f32>> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials = collect(logits.iter().map(|logit| f64::from(logit - max).exp()))?;
    let sum: f64 = exponentials.iter().sum();
    Ok(collect(exponentials.iter().map(|value| (value / sum) as f32))?)
}

/// The index of the max, the first of equals.
pub(super) fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_does_not_overflow() {
        assert_eq!(softmax(&[1000., 1000.]).unwrap(), [0.5, 0.5]);
        assert_eq!(argmax(&[1., 3., 3.]), 1);
    }
}
