//! The innermost loop of every matrix product.
//!
//! A tile is a few rows of the left matrix times a panel of the right one: as
//! many columns as two vectors hold. Its sums stay in registers; a value of the
//! left matrix is multiplied with a row of the panel.

#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every block hands on the contract of its function"
)]

use crate::element::Operations;
use crate::isa::Isa;
use crate::simd::Simd;

/// Values that a panel of any instruction set has in a row, at the most.
pub(crate) const MAX_NR: usize = 32;

/// Rows of a tile of any instruction set, at the most.
pub(crate) const MAX_MR: usize = crate::amx::ROWS;

/// Columns of a panel.
pub(crate) const fn width<S: Simd>() -> usize {
    2 * S::LANES
}

/// How many rows go together so that all meet as few times as `most` at once take.
pub(crate) fn height(rows: usize, most: usize) -> usize {
    rows.div_ceil(rows.div_ceil(most).max(1)).max(1)
}

/// Rows of values times a panel.
pub(crate) struct Product<E> {
    /// The first row.
    pub(crate) left: *const E,
    /// From one row to the next, in values.
    pub(crate) stride: usize,
    /// The panel: for each value of a row, its columns; of bfloat16, for each
    /// two values, both of each column.
    pub(crate) panel: *const E,
    /// Values of a row, filled up to a multiple of `DEPTH`.
    pub(crate) depth: usize,
    /// Whether sums are added to what stands in their place.
    pub(crate) onto: bool,
    pub(crate) next: Next,
}

/// What is brought near meanwhile, as memory is slow to answer.
#[derive(Clone, Copy)]
pub(crate) struct Next {
    /// Any address.
    pub(crate) start: *const u8,
    /// Cache lines for each step.
    pub(crate) lines: usize,
}

impl Next {
    /// Nothing that is not near.
    pub(crate) fn nothing() -> Self {
        static NEAR: u8 = 0;
        Self { start: &NEAR, lines: 0 }
    }

    /// Asks for one line of those that belong to a step: enough where steps are short.
    #[inline(always)]
    pub(crate) fn fetch_one(self, step: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            let line = self.start.wrapping_add(64 * step * self.lines).cast();
            // SAFETY: no address is wrong.
            unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(line) };
        }
    }

    /// Asks for what belongs to a step.
    #[inline(always)]
    pub(crate) fn fetch(self, step: usize) {
        #[cfg(target_arch = "x86_64")]
        for line in step * self.lines..(step + 1) * self.lines {
            let line = self.start.wrapping_add(64 * line).cast();
            // SAFETY: no address is wrong.
            unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(line) };
        }
    }
}

impl<E> Clone for Product<E> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<E> Copy for Product<E> {}

/// Writes the products of `rows` rows, which stand `stride` apart.
///
/// # Safety
/// `rows` is 1 to `S::ROWS`; left, panel and result have as many values as that
/// takes. Bfloat16 needs AVX-512 BF16.
#[inline(always)]
pub(crate) unsafe fn tile<S: Simd, E: Operations>(
    rows: usize,
    product: Product<E>,
    to: *mut f32,
    stride: usize,
) {
    debug_assert!((1..=S::ROWS).contains(&rows));
    macro_rules! of_rows {
        ($($rows:literal)*) => {
            match rows {
                // What the registers do not hold is not compiled.
                $($rows if $rows <= S::ROWS => unsafe { E::tile::<S, $rows>(product, to, stride) },)*
                _ => {}
            }
        };
    }
    of_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}

/// [`tile`] of the first half of each row of a panel.
///
/// # Safety
/// As of [`tile`].
#[inline(always)]
pub(crate) unsafe fn half_tile<S: Simd, E: Operations>(
    rows: usize,
    product: Product<E>,
    to: *mut f32,
    stride: usize,
) {
    debug_assert!((1..=S::ROWS).contains(&rows));
    macro_rules! of_rows {
        ($($rows:literal)*) => {
            match rows {
                $($rows if $rows <= S::ROWS => unsafe { E::half_tile::<S, $rows>(product, to, stride) },)*
                _ => {}
            }
        };
    }
    of_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}

#[inline(always)]
pub(crate) unsafe fn tile_f32<S: Simd, const ROWS: usize>(
    Product { left, stride, mut panel, depth, onto, next }: Product<f32>,
    to: *mut f32,
    to_stride: usize,
) {
    unsafe {
        let mut sums = [[S::zero(); 2]; ROWS];
        if onto {
            for (row, sums) in sums.iter_mut().enumerate() {
                let to = to.add(row * to_stride);
                *sums = [S::load(to), S::load(to.add(S::LANES))];
            }
        }
        for place in 0..depth {
            next.fetch_one(place);
            let columns = [S::load(panel), S::load(panel.add(S::LANES))];
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = S::splat(*left.add(row * stride + place));
                sums[0] = S::fma(value, columns[0], sums[0]);
                sums[1] = S::fma(value, columns[1], sums[1]);
            }
            panel = panel.add(2 * S::LANES);
        }
        for (row, sums) in sums.into_iter().enumerate() {
            S::store(to.add(row * to_stride), sums[0]);
            S::store(to.add(row * to_stride + S::LANES), sums[1]);
        }
    }
}

// Not [`tile_f32`] with a number of vectors: compilers then keep the columns in memory.
#[inline(always)]
pub(crate) unsafe fn half_tile_f32<S: Simd, const ROWS: usize>(
    Product { left, stride, mut panel, depth, .. }: Product<f32>,
    to: *mut f32,
    to_stride: usize,
) {
    unsafe {
        let mut sums = [S::zero(); ROWS];
        for place in 0..depth {
            let column = S::load(panel);
            for (row, sum) in sums.iter_mut().enumerate() {
                *sum = S::fma(S::splat(*left.add(row * stride + place)), column, *sum);
            }
            panel = panel.add(2 * S::LANES);
        }
        for (row, sum) in sums.into_iter().enumerate() {
            S::store(to.add(row * to_stride), sum);
        }
    }
}

/// Writes the sums of products of 8-bit integers, unsigned rows with signed columns;
/// their rows are as wide as a panel. The depth is a multiple of 4.
///
/// # Safety
/// As of [`tile`]; the instruction set is available.
#[inline(always)]
pub(crate) unsafe fn int8_tile<S: Simd>(
    isa: Isa,
    rows: usize,
    product: Product<u8>,
    sums: *mut i32,
) {
    #[cfg(target_arch = "x86_64")]
    if isa >= Isa::Avx512Vnni {
        macro_rules! of_rows {
            ($($rows:literal)*) => {
                match rows {
                    $($rows => unsafe { avx512_vnni::tile::<$rows>(product, sums) },)*
                    _ => {}
                }
            };
        }
        of_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        return;
    }
    let Product { left, stride, panel, depth, onto, .. } = product;
    for row in 0..rows {
        let to = unsafe { sums.add(row * width::<S>()) };
        let mut own = [0; MAX_NR];
        if onto {
            unsafe { own.as_mut_ptr().copy_from_nonoverlapping(to, width::<S>()) };
        }
        for quad in 0..depth / 4 {
            let values = unsafe { left.add(row * stride).cast::<[u8; 4]>().add(quad).read() };
            let columns = unsafe { panel.cast::<[i8; 4]>().add(quad * width::<S>()) };
            for (column, sum) in own[..width::<S>()].iter_mut().enumerate() {
                let weights = unsafe { columns.add(column).read() };
                for (value, weight) in values.into_iter().zip(weights) {
                    *sum += i32::from(value) * i32::from(weight);
                }
            }
        }
        unsafe { to.copy_from_nonoverlapping(own.as_ptr(), width::<S>()) };
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512_vnni {
    use super::Product;
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) unsafe fn tile<const ROWS: usize>(
        Product { left, stride, panel, depth, onto, next }: Product<u8>,
        to: *mut i32,
    ) {
        unsafe {
            let mut sums = [[_mm512_setzero_si512(); 2]; ROWS];
            if onto {
                for (row, sums) in sums.iter_mut().enumerate() {
                    let to = to.add(row * 32).cast::<__m512i>();
                    *sums = [_mm512_loadu_si512(to), _mm512_loadu_si512(to.add(1))];
                }
            }
            let mut panel = panel.cast::<__m512i>();
            for place in 0..depth / 4 {
                next.fetch_one(place);
                let columns = [_mm512_loadu_si512(panel), _mm512_loadu_si512(panel.add(1))];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let four = left.add(row * stride).cast::<i32>().add(place).read_unaligned();
                    let four = _mm512_set1_epi32(four);
                    sums[0] = _mm512_dpbusd_epi32(sums[0], four, columns[0]);
                    sums[1] = _mm512_dpbusd_epi32(sums[1], four, columns[1]);
                }
                panel = panel.add(2);
            }
            for (row, sums) in sums.into_iter().enumerate() {
                _mm512_storeu_si512(to.add(row * 32).cast(), sums[0]);
                _mm512_storeu_si512(to.add(row * 32 + 16).cast(), sums[1]);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use avx512_bf16::{half_tile as half_tile_bf16, tile as tile_bf16};

#[cfg(not(target_arch = "x86_64"))]
pub(crate) unsafe fn tile_bf16<const ROWS: usize>(_: Product<crate::Bf16>, _: *mut f32, _: usize) {
    unreachable!("products of bfloat16 values need an instruction of x86");
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) use tile_bf16 as half_tile_bf16;

#[cfg(target_arch = "x86_64")]
mod avx512_bf16 {
    use super::Product;
    use crate::Bf16;
    use std::arch::x86_64::*;

    /// Two values of a row, or of a column, are one of 32 bits.
    #[inline(always)]
    unsafe fn bh(pairs: __m512i) -> __m512bh {
        unsafe { std::mem::transmute(pairs) }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(crate) unsafe fn tile<const ROWS: usize>(
        Product { left, stride, panel, depth, onto, next }: Product<Bf16>,
        to: *mut f32,
        to_stride: usize,
    ) {
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
            if onto {
                for (row, sums) in sums.iter_mut().enumerate() {
                    let to = to.add(row * to_stride);
                    *sums = [_mm512_loadu_ps(to), _mm512_loadu_ps(to.add(16))];
                }
            }
            let mut panel = panel.cast::<__m512i>();
            for place in 0..depth / 2 {
                next.fetch_one(place);
                let columns = [bh(_mm512_loadu_si512(panel)), bh(_mm512_loadu_si512(panel.add(1)))];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let pair = left.add(row * stride).cast::<i32>().add(place).read_unaligned();
                    let pair = bh(_mm512_set1_epi32(pair));
                    sums[0] = _mm512_dpbf16_ps(sums[0], pair, columns[0]);
                    sums[1] = _mm512_dpbf16_ps(sums[1], pair, columns[1]);
                }
                panel = panel.add(2);
            }
            for (row, sums) in sums.into_iter().enumerate() {
                _mm512_storeu_ps(to.add(row * to_stride), sums[0]);
                _mm512_storeu_ps(to.add(row * to_stride + 16), sums[1]);
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(crate) unsafe fn half_tile<const ROWS: usize>(
        Product { left, stride, panel, depth, .. }: Product<Bf16>,
        to: *mut f32,
        to_stride: usize,
    ) {
        unsafe {
            let mut sums = [_mm512_setzero_ps(); ROWS];
            let mut panel = panel.cast::<__m512i>();
            for place in 0..depth / 2 {
                let column = bh(_mm512_loadu_si512(panel));
                for (row, sum) in sums.iter_mut().enumerate() {
                    let pair = left.add(row * stride).cast::<i32>().add(place).read_unaligned();
                    *sum = _mm512_dpbf16_ps(*sum, bh(_mm512_set1_epi32(pair)), column);
                }
                panel = panel.add(2);
            }
            for (row, sum) in sums.into_iter().enumerate() {
                _mm512_storeu_ps(to.add(row * to_stride), sum);
            }
        }
    }
}
