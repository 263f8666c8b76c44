//! From the hidden states of tokens to one vector for a text.
//!
//! Source: `Pooling`, <https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/sentence_transformer/modules/pooling.py>

#![expect(clippy::disallowed_methods, reason = "works on results, records no trace")]

use super::encoding::unknown;
use crate::error::{Error, Result};
use crate::memory::filled;
use bertscript_kernels::Matrix;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use tch::{Kind, Tensor};

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

    /// Pools `hidden` `[B,S,H]` over the tokens where `mask` `[B,S]` is 1, to
    /// `[B,H]`. Padding stands at the end of a row.
    pub(crate) fn pool(self, hidden: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let hidden = hidden.f_to_kind(Kind::Float)?;
        let mask = mask.f_to_kind(Kind::Float)?;
        let weights = mask.f_unsqueeze(-1)?;
        let total = |weights: &Tensor| hidden.f_mul(weights)?.f_sum_dim_intlist(1, false, None);
        let count = |weights: &Tensor| weights.f_sum_dim_intlist(1, false, None)?.f_clamp_min(1e-9);
        // The token of each row at a place `[B]`.
        let at = |place: Tensor| {
            let place = place.f_view([-1, 1, 1])?.f_expand([-1, 1, hidden.size()[2]], false)?;
            hidden.f_gather(1, &place, false)?.f_squeeze_dim(1)
        };
        Ok(match self {
            Self::Cls => at(mask.f_argmax(1, false)?)?,
            Self::LastToken => {
                let last = mask.f_mul(&positions(&mask)?)?.f_argmax(1, false)?;
                // Of a row without tokens nothing remains.
                at(last)?.f_mul(&mask.f_amax([1], true)?)?
            }
            Self::Max => {
                let hole = weights.f_eq(0.)?;
                hidden.f_masked_fill(&hole, f64::NEG_INFINITY)?.f_amax([1], false)?
            }
            Self::Mean => total(&weights)?.f_div(&count(&weights)?)?,
            Self::MeanSqrtLenTokens => total(&weights)?.f_div(&count(&weights)?.f_sqrt()?)?,
            Self::WeightedMean => {
                let weights = weights.f_mul(&positions(&mask)?.f_unsqueeze(-1)?)?;
                total(&weights)?.f_div(&count(&weights)?)?
            }
        })
    }
}

/// 1, 2, 3 .. in every row.
fn positions(mask: &Tensor) -> Result<Tensor> {
    Ok(mask.f_ones_like()?.f_cumsum(1, Kind::Float)?)
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

    const WIDTH: usize = 24;

    /// Hidden states of texts, padded; their rows one after the other; and the mask
    /// without the first tokens of each.
    fn texts(lengths: &[usize], left_out: usize) -> (Tensor, Matrix<f32>, Tensor) {
        let longest = *lengths.iter().max().unwrap() as i64;
        let (texts, width) = (lengths.len() as i64, WIDTH as i64);
        let on_cpu = (Kind::Float, tch::Device::Cpu);
        // Far from zero, as some dimensions of BERT are.
        let hidden = Tensor::randn([texts, longest, width], on_cpu) * 3. - 5.;
        let mask = Tensor::zeros([texts, longest], on_cpu);
        let mut rows = Matrix::new(WIDTH);
        rows.set_rows(lengths.iter().sum()).unwrap();
        let mut next = 0;
        for (text, length) in lengths.iter().enumerate() {
            let mask = mask.get(text as i64);
            let left_out = left_out.min(*length) as i64;
            let _ = mask.slice(0, left_out, *length as i64, 1).fill_(1.);
            for token in 0..*length {
                let values = hidden.get(text as i64).get(token as i64);
                rows.row_mut(next).copy_from_slice(&Vec::<f32>::try_from(&values).unwrap());
                next += 1;
            }
        }
        (hidden, rows, mask)
    }

    #[test]
    #[cfg_attr(miri, ignore = "calls libtorch")]
    fn rows_are_pooled_as_libtorch_pools_padded_ones() {
        let lengths = [1, 2, 3, 100, 512, 7];
        // At last more than some texts have.
        for left_out in [0, 1, 5] {
            let (hidden, rows, mask) = texts(&lengths, left_out);
            for mode in PoolingMode::ALL {
                let expected = mode.pool(&hidden, &mask).unwrap();
                let expected = Vec::<Vec<f32>>::try_from(&expected).unwrap();
                let mut start = 0;
                for (length, expected) in lengths.iter().zip(expected) {
                    let text = start..start + length;
                    start = text.end;
                    let mut pooled = [f32::NAN; WIDTH];
                    let tokens = mode.tokens(&text, left_out);
                    assert!(!mode.takes_one_token() || tokens.len() <= 1);
                    mode.pool_rows(&rows, tokens, left_out, &mut pooled).unwrap();
                    for (value, expected) in pooled.iter().zip(expected) {
                        let bound = 1e-6 * expected.abs().max(1.);
                        let near = *value == expected || (value - expected).abs() <= bound;
                        assert!(near, "{mode} of {length}: {value} {expected}");
                    }
                }
            }
        }
    }

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
