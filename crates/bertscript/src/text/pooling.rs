//! From the hidden states of tokens to one vector for a text.
//!
//! Source: `Pooling`, <https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/sentence_transformer/modules/pooling.py>

#![expect(clippy::disallowed_methods, reason = "works on results, records no trace")]

use super::encoding::unknown;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
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
