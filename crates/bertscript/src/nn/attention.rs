//! `torch.nn.functional.scaled_dot_product_attention`,
//! <https://docs.pytorch.org/docs/2.11/generated/torch.nn.functional.scaled_dot_product_attention.html>

use crate::error::Result;
use tch::Tensor;

/// query, key, value `[B,heads,S,head_dim]`, mask `[B,1,1,S]` of bool (true
/// takes part) -> `[B,heads,S,head_dim]`. The scale is `1/sqrt(head_dim)`.
///
/// A row whose mask is all false attends to nothing: its result is zero.
pub(crate) fn scaled_dot_product_attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    mask: Option<&Tensor>,
) -> Result<Tensor> {
    let (dropout_p, is_causal, enable_gqa) = (0., false, false);
    Ok(Tensor::f_scaled_dot_product_attention(
        query, key, value, mask, dropout_p, is_causal, None, enable_gqa,
    )?)
}

/// attention_mask `[B,S]` of 0 and 1 -> `[B,1,1,S]` of bool, to broadcast over
/// heads and queries.
pub(crate) fn boolean_mask(attention_mask: &Tensor) -> Result<Tensor> {
    Ok(attention_mask.f_ne(0)?.f_unsqueeze(1)?.f_unsqueeze(1)?)
}
