//! Memory that may run out.
//!
//! A failed allocation of Rust's own collections ends the process. Whatever grows with
//! the model or the inputs is allocated here instead, where that is an error; small
//! allocations are not, so a large one fails unless [`HEADROOM`] is left for them.

use std::error::Error;
use std::fmt;
use std::hint::black_box;

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; 64]);

impl Line {
    pub(crate) const ZERO: Self = Self([0; 64]);
}

/// Bytes that stay available for small allocations when a large one has succeeded.
pub const HEADROOM: usize = 1 << 20;

/// Bytes from which an allocation is large.
const LARGE: usize = 64 << 10;

/// An allocation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory {
    /// Bytes that were wanted.
    pub bytes: usize,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot allocate {} bytes", self.bytes)
    }
}

impl Error for OutOfMemory {}

/// Checks that so many bytes can be allocated now.
pub fn check(bytes: usize) -> Result<(), OutOfMemory> {
    headroom(bytes).map(drop)
}

/// An empty vector with room for `count` values.
pub fn with_capacity<T>(count: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut values = Vec::new();
    grow(&mut values, count, Vec::try_reserve_exact)?;
    Ok(values)
}

/// Makes room for `count` more values; as `Vec::reserve`, for more than that if the
/// vector has to grow.
pub fn reserve<T>(values: &mut Vec<T>, count: usize) -> Result<(), OutOfMemory> {
    grow(values, count, Vec::try_reserve)
}

/// A vector of `count` times the same value.
pub fn filled<T: Clone>(count: usize, value: T) -> Result<Vec<T>, OutOfMemory> {
    let mut values = with_capacity(count)?;
    values.resize(count, value);
    Ok(values)
}

/// A vector of the same values.
pub fn copied<T: Copy>(values: &[T]) -> Result<Vec<T>, OutOfMemory> {
    let mut copy = with_capacity(values.len())?;
    copy.extend_from_slice(values);
    Ok(copy)
}

/// The values of an iterator.
pub fn collect<T>(values: impl IntoIterator<Item = T>) -> Result<Vec<T>, OutOfMemory> {
    let values = values.into_iter();
    let mut collected = with_capacity(values.size_hint().0)?;
    for value in values {
        reserve(&mut collected, 1)?;
        collected.push(value);
    }
    Ok(collected)
}

/// The values of an iterator, or its first error.
pub fn try_collect<T, E: From<OutOfMemory>>(
    values: impl IntoIterator<Item = Result<T, E>>,
) -> Result<Vec<T>, E> {
    let values = values.into_iter();
    let mut collected = with_capacity(values.size_hint().1.unwrap_or(0))?;
    for value in values {
        let value = value?;
        reserve(&mut collected, 1)?;
        collected.push(value);
    }
    Ok(collected)
}

/// Zeros that start at a cache line.
pub(crate) fn zeros(bytes: usize) -> Result<Vec<Line>, OutOfMemory> {
    filled(bytes.div_ceil(size_of::<Line>()), Line::ZERO)
}

/// [`zeros`] for weights, of which much is read one after the other: in huge pages
/// where there are some, as translating many small ones takes long.
pub(crate) fn zeros_for_weights(bytes: usize) -> Result<Vec<Line>, OutOfMemory> {
    let lines = zeros(bytes)?;
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 2 << 20;
        let start = (lines.as_ptr() as usize).next_multiple_of(PAGE);
        let end = (lines.as_ptr() as usize + size_of_val(lines.as_slice())) / PAGE * PAGE;
        if start < end {
            // SAFETY: inside the memory, which keeps what it holds. Where it cannot be
            // done, nothing is lost.
            unsafe { libc::madvise(start as *mut _, end - start, libc::MADV_HUGEPAGE) };
        }
    }
    Ok(lines)
}

fn grow<T, E>(
    values: &mut Vec<T>,
    count: usize,
    reserve: impl FnOnce(&mut Vec<T>, usize) -> Result<(), E>,
) -> Result<(), OutOfMemory> {
    if count <= values.capacity() - values.len() {
        return Ok(());
    }
    let bytes = count.saturating_mul(size_of::<T>());
    let _headroom = if bytes < LARGE { Vec::new() } else { headroom(HEADROOM)? };
    reserve(values, count).map_err(|_| OutOfMemory { bytes })
}

/// Memory that nobody writes to. The compiler would leave it out if it could.
fn headroom(bytes: usize) -> Result<Vec<u8>, OutOfMemory> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(bytes).map_err(|_| OutOfMemory { bytes })?;
    Ok(black_box(memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_allocated_is_an_error() {
        let bytes = isize::MAX as usize;
        assert_eq!(check(bytes), Err(OutOfMemory { bytes }));
        assert_eq!(with_capacity::<u8>(bytes), Err(OutOfMemory { bytes }));
        assert_eq!(zeros(bytes).err().map(|error| error.bytes), Some(1 << 63));
        let mut values = vec![1_u64];
        assert!(reserve(&mut values, usize::MAX).is_err());
        assert_eq!(values, [1]);
    }

    #[test]
    fn values_are_those_of_the_iterator() {
        assert_eq!(collect((0..100).filter(|n| n % 7 == 0)).unwrap().len(), 15);
        assert_eq!(filled(3, 'a').unwrap(), copied(&['a'; 3]).unwrap());
        assert_eq!(with_capacity::<u8>(9).unwrap().capacity(), 9);
    }
}
