//! Memory that grows with models, texts and results: where it runs out, that is an error.

use crate::error::Result;

pub(crate) use bertscript_kernels::memory::{
    HEADROOM, check, collect, copied, filled, reserve, try_collect, with_capacity,
};

/// Checks that there is room for words and labels of so many tokens, which are small
/// allocations.
pub(crate) fn check_tokens(count: usize) -> Result<()> {
    const NEEDED_PER_TOKEN: usize = 256;
    Ok(check(HEADROOM + count * NEEDED_PER_TOKEN)?)
}
