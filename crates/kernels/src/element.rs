//! The types that values are kept in. Sums are always float32.

#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every block hands on the contract of its function"
)]

use crate::simd::Simd;
use crate::tile;
use std::fmt::Debug;

/// The type of a matrix's values: float32 or bfloat16.
#[expect(private_bounds, reason = "the types are these two")]
pub trait Element: Operations {
    /// The value as float32.
    fn to_f32(self) -> f32;
    /// The nearest value.
    fn from_f32(value: f32) -> Self;
}

/// What kernels do with values.
pub(crate) trait Operations: Copy + Default + Debug + Send + Sync + 'static {
    /// How many values of one row a product takes together.
    const DEPTH: usize;

    /// The first `count` values.
    ///
    /// # Safety
    /// As of [`Simd`].
    unsafe fn load<S: Simd>(from: *const Self, count: usize) -> S::V;

    /// The first `count` values.
    ///
    /// # Safety
    /// As of [`Simd`].
    unsafe fn store<S: Simd>(to: *mut Self, count: usize, v: S::V);

    /// Writes a row of a panel for each `DEPTH` rows of a matrix: `count` columns, all
    /// values of the first, then all of the second. `rows` of the rows exist; zeros stand for
    /// the others.
    ///
    /// # Safety
    /// As of [`Simd`].
    unsafe fn interleave<S: Simd>(
        from: *const Self,
        stride: usize,
        rows: usize,
        count: usize,
        to: *mut Self,
    );

    /// See [`tile::tile`].
    ///
    /// # Safety
    /// As there.
    unsafe fn tile<S: Simd, const ROWS: usize>(
        product: tile::Product<Self>,
        to: *mut f32,
        stride: usize,
    );

    /// See [`tile::half_tile`].
    ///
    /// # Safety
    /// As there.
    unsafe fn half_tile<S: Simd, const ROWS: usize>(
        product: tile::Product<Self>,
        to: *mut f32,
        stride: usize,
    );
}

/// A bfloat16 value: the upper half of a float32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(pub u16);

impl Bf16 {
    /// Values, given their bits.
    pub fn from_bits(bits: &[u16]) -> &[Self] {
        // SAFETY: the same size and alignment, and every pattern is a value.
        unsafe { std::slice::from_raw_parts(bits.as_ptr().cast(), bits.len()) }
    }
}

impl Element for f32 {
    fn to_f32(self) -> f32 {
        self
    }

    fn from_f32(value: f32) -> Self {
        value
    }
}

impl Operations for f32 {
    const DEPTH: usize = 1;

    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const Self, count: usize) -> S::V {
        unsafe { if count < S::LANES { S::load_part(from, count) } else { S::load(from) } }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(to: *mut Self, count: usize, v: S::V) {
        unsafe { if count < S::LANES { S::store_part(to, count, v) } else { S::store(to, v) } }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const ROWS: usize>(
        product: tile::Product<Self>,
        to: *mut f32,
        stride: usize,
    ) {
        unsafe { tile::tile_f32::<S, ROWS>(product, to, stride) }
    }

    #[inline(always)]
    unsafe fn half_tile<S: Simd, const ROWS: usize>(
        product: tile::Product<Self>,
        to: *mut f32,
        stride: usize,
    ) {
        unsafe { tile::half_tile_f32::<S, ROWS>(product, to, stride) }
    }

    #[inline(always)]
    unsafe fn interleave<S: Simd>(
        from: *const Self,
        _: usize,
        _: usize,
        count: usize,
        to: *mut Self,
    ) {
        unsafe { S::store(to, Self::load::<S>(from, count)) }
    }
}

impl Element for Bf16 {
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        if value.is_nan() {
            // Rounding might make something else of it.
            return Self((bits >> 16) as u16 | 0x40);
        }
        Self((bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16)
    }
}

impl Operations for Bf16 {
    const DEPTH: usize = 2;

    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const Self, count: usize) -> S::V {
        unsafe { S::load_bf16(from.cast(), count) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(to: *mut Self, count: usize, v: S::V) {
        unsafe { S::store_bf16(to.cast(), count, v) }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const ROWS: usize>(
        product: tile::Product<Self>,
        to: *mut f32,
        stride: usize,
    ) {
        unsafe { tile::tile_bf16::<ROWS>(product, to, stride) }
    }

    #[inline(always)]
    unsafe fn half_tile<S: Simd, const ROWS: usize>(
        product: tile::Product<Self>,
        to: *mut f32,
        stride: usize,
    ) {
        unsafe { tile::half_tile_bf16::<ROWS>(product, to, stride) }
    }

    #[inline(always)]
    unsafe fn interleave<S: Simd>(
        from: *const Self,
        stride: usize,
        rows: usize,
        count: usize,
        to: *mut Self,
    ) {
        let pair = |i: usize, second: Self| unsafe { [*from.add(i), second] };
        let to = to.cast::<[Self; 2]>();
        for i in 0..count.min(S::LANES) {
            unsafe {
                let second = if rows > 1 { *from.add(stride + i) } else { Self(0) };
                to.add(i).write(pair(i, second));
            }
        }
    }
}
