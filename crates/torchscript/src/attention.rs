//! Attention over texts of different lengths that lie one after the other.

use crate::error::{Result, check};
use crate::ffi;
use std::ffi::c_int;
use tch::Tensor;

/// query, key and value `[T,heads,head_dim]` on a CUDA device -> the same; every
/// token attends to those of its own text, with the scale `1/sqrt(head_dim)`.
///
/// `cu_seqlens` `[N+1]` of int32 says where the first text begins and where each
/// ends, `longest` how many tokens a text has at most. By `flash`, FlashAttention
/// computes it, which takes half precision, a `head_dim` of 8, 16 .. 256 and a
/// device of compute capability 8.0; otherwise CUTLASS's memory-efficient kernel. With a
/// `window`, which FlashAttention alone has, a token attends to those at most so far away.
///
/// # Errors
/// What libtorch refuses, such as tensors on the CPU.
pub fn varlen_attention(
    [query, key, value]: [&Tensor; 3],
    cu_seqlens: &Tensor,
    longest: i64,
    flash: bool,
    window: Option<i64>,
) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    // SAFETY: all pointers are live for the call.
    check(unsafe {
        ffi::ts_varlen_attention(
            query.as_ptr(),
            key.as_ptr(),
            value.as_ptr(),
            cu_seqlens.as_ptr(),
            longest,
            c_int::from(flash),
            window.unwrap_or(-1),
            &mut out,
        )
    })?;
    // SAFETY: the shim gives the tensor away.
    Ok(unsafe { Tensor::from_ptr(out) })
}
