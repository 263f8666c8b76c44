//! From the hidden states of tokens to one vector for a text.
//!
//! Source: `Pooling`, <https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/sentence_transformer/modules/pooling.py>

use crate::error::{Error, Result};
use crate::memory::{filled, with_capacity};
use crate::text::unknown;
use bertscript_kernels::Matrix;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// How hidden states become one vector. The words are those of
/// sentence-transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolingMode {
    /// The first token.
    Cls,
    /// The greatest value of each dimension.
    Max,
    /// The mean.
    Mean,
    /// The sum, over the square root of the number of tokens.
    MeanSqrtLenTokens,
    /// The mean weighted by position, 1 for the first token.
    #[serde(rename = "weightedmean")]
    WeightedMean,
    /// The last token.
    #[serde(rename = "lasttoken")]
    LastToken,
}

impl PoolingMode {
    /// Every mode, in the order in which several are concatenated.
    pub const ALL: [Self; 6] = [
        Self::Cls,
        Self::Max,
        Self::Mean,
        Self::MeanSqrtLenTokens,
        Self::WeightedMean,
        Self::LastToken,
    ];

    /// sentence-transformers' name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cls => "cls",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::MeanSqrtLenTokens => "mean_sqrt_len_tokens",
            Self::WeightedMean => "weightedmean",
            Self::LastToken => "lasttoken",
        }
    }

    /// Whether a single token is all that it looks at.
    pub(crate) fn takes_one_token(self) -> bool {
        matches!(self, Self::Cls | Self::LastToken)
    }

    /// Those of a text's tokens that it looks at, if the first `left_out` take no
    /// part.
    pub(crate) fn tokens(self, text: &Range<usize>, left_out: usize) -> Range<usize> {
        let rest = text.end.min(text.start + left_out)..text.end;
        match self {
            // Upstream asks where a mask is greatest: without any, at its start.
            Self::Cls if rest.is_empty() => text.start..text.end.min(text.start + 1),
            Self::Cls => rest.start..rest.start + 1,
            Self::LastToken if !rest.is_empty() => rest.end - 1..rest.end,
            _ => rest,
        }
    }

    /// Pools the rows that [`Self::tokens`] have in `hidden` `[T,H]`, to `[H]`. Every
    /// sum is one of a text's tokens in their order, whatever stands beside.
    pub(crate) fn pool_rows(
        self,
        hidden: &Matrix<f32>,
        rows: Range<usize>,
        left_out: usize,
        pooled: &mut [f32],
    ) -> Result<()> {
        let count = rows.len() as f64;
        let positions = || (left_out + 1..).map(|position| position as f64).take(rows.len());
        let divisor = match self {
            Self::Cls | Self::LastToken => {
                match rows.is_empty() {
                    true => pooled.fill(0.),
                    false => pooled.copy_from_slice(hidden.row(rows.start)),
                }
                return Ok(());
            }
            Self::Max => {
                pooled.fill(f32::NEG_INFINITY);
                for row in rows {
                    for (most, value) in pooled.iter_mut().zip(hidden.row(row)) {
                        if *value > *most || value.is_nan() {
                            *most = *value;
                        }
                    }
                }
                return Ok(());
            }
            Self::Mean => count,
            Self::MeanSqrtLenTokens => count.sqrt(),
            Self::WeightedMean => positions().sum(),
        };
        let mut sums = filled(pooled.len(), 0_f64)?;
        for (row, position) in rows.clone().zip(positions()) {
            let weight = if self == Self::WeightedMean { position } else { 1. };
            for (sum, value) in sums.iter_mut().zip(hidden.row(row)) {
                *sum += f64::from(*value) * weight;
            }
        }
        for (value, sum) in pooled.iter_mut().zip(sums) {
            *value = (sum / divisor.max(1e-9)) as f32;
        }
        Ok(())
    }
}

/// For each sequence, for each mode: the tokens that it looks at.
pub(crate) fn pooled_tokens(
    sequences: impl ExactSizeIterator<Item = Range<usize>>,
    modes: &[PoolingMode],
    skipped: &[usize],
) -> Result<Vec<Range<usize>>> {
    let mut tokens = with_capacity(sequences.len() * modes.len())?;
    for (sequence, skipped) in sequences.zip(skipped) {
        tokens.extend(modes.iter().map(|mode| mode.tokens(&sequence, *skipped)));
    }
    Ok(tokens)
}

/// Pools rows `[R,W]`, given for each sequence and mode those it looks at, to `[N,M*W]`.
pub(crate) fn pool_rows(
    hidden: &Matrix<f32>,
    tokens: &[Range<usize>],
    modes: &[PoolingMode],
    skipped: &[usize],
) -> Result<Matrix<f32>> {
    let width = hidden.width();
    let mut pooled = Matrix::new(modes.len() * width);
    pooled.set_rows(skipped.len())?;
    let mut tokens = tokens.iter();
    for (sequence, skipped) in skipped.iter().enumerate() {
        let parts = pooled.row_mut(sequence).chunks_exact_mut(width);
        for ((mode, part), rows) in modes.iter().zip(parts).zip(&mut tokens) {
            mode.pool_rows(hidden, rows.clone(), *skipped, part)?;
        }
    }
    Ok(pooled)
}

impl fmt::Display for PoolingMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for PoolingMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|mode| mode.name() == text);
        found.ok_or_else(|| unknown("pooling mode", text, &known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_value_is_none_where_one_is_no_number() {
        let mut rows = Matrix::new(2);
        rows.set_rows(3).unwrap();
        for (row, values) in [[1., 1.], [f32::NAN, 2.], [3., 0.]].iter().enumerate() {
            rows.row_mut(row).copy_from_slice(values);
        }
        let mut pooled = [0.; 2];
        PoolingMode::Max.pool_rows(&rows, 0..3, 0, &mut pooled).unwrap();
        assert!(pooled[0].is_nan() && pooled[1] == 2., "{pooled:?}");
    }
}
