//! Attention, in the two forms that transformers has.
//!
//! Source: `sdpa_attention_forward` and `eager_attention_forward`,
//! <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py>

use crate::attention::Attention;
use crate::error::Result;
use tch::Tensor;

/// The lowest number that every dtype has; its exponential is zero in each.
/// (Upstream adds the lowest of the dtype, which would bake the dtype in.)
const MASKED: f64 = -65504.;

impl Attention {
    /// Of a mask `[B,1,1,S]` or `[B,1,S,S]` of bool (true takes part) and a bias
    /// `[1,heads,S,S]`, what [`Self::forward`] takes: the operator has one argument for both.
    pub(crate) fn scores(self, mask: Option<Tensor>, bias: Option<Tensor>) -> Result<Scores> {
        Ok(match (self, mask, bias) {
            (Self::Sdpa, Some(mask), Some(bias)) => {
                let both = bias.f_masked_fill(&mask.f_logical_not()?, f64::NEG_INFINITY)?;
                Scores { mask: Some(both), bias: None, scale: None }
            }
            (Self::Sdpa, None, Some(bias)) => Scores { mask: Some(bias), bias: None, scale: None },
            (_, mask, bias) => Scores { mask, bias, scale: None },
        })
    }

    /// query, key, value `[B,heads,S,head_dim]` -> `[B,heads,S,head_dim]`, and from eager
    /// attention the probabilities `[B,heads,S,S]`. The scale is `1/sqrt(head_dim)`, if scores
    /// have no other.
    pub(crate) fn forward(
        self,
        [query, key, value]: [&Tensor; 3],
        scores_of: &Scores,
        head_dim: i64,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let Scores { mask, bias, scale } = scores_of;
        match self {
            Self::Sdpa => {
                let (dropout_p, is_causal, enable_gqa) = (0., false, false);
                let context = Tensor::f_scaled_dot_product_attention(
                    query,
                    key,
                    value,
                    mask.as_ref(),
                    dropout_p,
                    is_causal,
                    *scale,
                    enable_gqa,
                )?;
                Ok((context, None))
            }
            Self::Eager => {
                let scale = scale.unwrap_or((head_dim as f64).powf(-0.5));
                let scores = query.f_matmul(&key.f_transpose(2, 3)?)?.f_mul_scalar(scale)?;
                let scores = match bias {
                    Some(bias) => scores.f_add(bias)?,
                    None => scores,
                };
                let scores = match mask {
                    Some(mask) => scores.f_masked_fill(&mask.f_logical_not()?, MASKED)?,
                    None => scores,
                };
                let probabilities = scores.f_softmax(-1, None::<tch::Kind>)?;
                Ok((probabilities.f_matmul(value)?, Some(probabilities)))
            }
        }
    }
}

/// The form of the batches that a model is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttentionForm {
    /// Rows of one length, by this attention
    Padded(Attention),
    /// One row that holds all sequences
    Varlen,
}

/// What is added to the scores of rows of one length, and which of them are left out.
#[derive(Debug)]
pub(crate) struct Scores {
    /// `[B,1,1,S]` or `[B,1,S,S]` of bool, true where a key takes part; with a bias for SDPA,
    /// both as one `[B,heads,S,S]`
    mask: Option<Tensor>,
    /// `[1,heads,S,S]` or `[B,heads,S,S]`, of scaled scores
    bias: Option<Tensor>,
    /// `1/sqrt(head_dim)` if none
    scale: Option<f64>,
}

impl Scores {
    /// Of pairs of a query and a key, `[B,1,S,S]` of bool, and a bias `[B,heads,S,S]`. A query
    /// without keys, whose scores are the same, attends to all alike.
    pub(crate) fn of_pairs(attention: Attention, is_pair: &Tensor, bias: Tensor) -> Result<Self> {
        Ok(match attention {
            Attention::Sdpa => {
                let both = bias.f_masked_fill(&is_pair.f_logical_not()?, MASKED)?;
                Self { mask: Some(both), bias: None, scale: None }
            }
            Attention::Eager => {
                Self { mask: Some(is_pair.shallow_clone()), bias: Some(bias), scale: None }
            }
        })
    }

    /// With another scale than `1/sqrt(head_dim)`.
    pub(crate) fn scale(self, scale: f64) -> Self {
        Self { scale: Some(scale), ..self }
    }
}

/// positions `[1,S]` -> `[1,1,S,S]` of bool, true where a key is no farther than `window` away
/// from its query.
pub(crate) fn window_mask(positions: &Tensor, window: i64) -> Result<Tensor> {
    // Comparisons that broadcast: distances would take eight times the memory of the mask.
    let (key, query) = (positions.f_unsqueeze(-2)?, positions.f_unsqueeze(-1)?);
    let after = key.f_ge_tensor(&query.f_sub_scalar(window)?)?;
    let before = key.f_le_tensor(&query.f_add_scalar(window)?)?;
    Ok(after.f_logical_and(&before)?.f_unsqueeze(1)?)
}

/// attention_mask `[B,S]` of 0 and 1 -> `[B,1,1,S]` of bool, to broadcast over
/// heads and queries.
pub(crate) fn boolean_mask(attention_mask: &Tensor) -> Result<Tensor> {
    Ok(attention_mask.f_ne(0)?.f_unsqueeze(1)?.f_unsqueeze(1)?)
}
