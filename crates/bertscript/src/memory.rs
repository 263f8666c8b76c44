//! Memory that grows with models, texts and results: where it runs out, that is an error.

use crate::error::Result;
use tch::{Tensor, kind};

pub(crate) use bertscript_kernels::memory::{
    HEADROOM, check, collect, copied, filled, reserve, try_collect, with_capacity,
};

/// Checks that there is room for words and labels of so many tokens, which are small
/// allocations.
pub(crate) fn check_tokens(count: usize) -> Result<()> {
    const NEEDED_PER_TOKEN: usize = 256;
    Ok(check(HEADROOM + count * NEEDED_PER_TOKEN)?)
}

/// The elements of a tensor of this type, row-major.
pub(crate) fn elements<T: kind::Element>(tensor: &Tensor) -> Result<Vec<T>> {
    let mut values = filled(tensor.numel(), T::ZERO)?;
    tensor.f_copy_data(&mut values, tensor.numel())?;
    Ok(values)
}
