//! The types that values are stored in. Sums are always float32, or integers of 32 bits.

use crate::bf16::Bf16;
use crate::simd::Simd;
use std::fmt::Debug;

/// The type of a matrix's values: float32 or bfloat16.
#[expect(private_bounds, reason = "the types are these two")]
pub trait Element: Storage {
    /// The value as float32.
    fn to_f32(self) -> f32;
    /// The nearest value.
    fn from_f32(value: f32) -> Self;
}

/// A type of values, at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dtype {
    F32,
    Bf16,
}

/// Weights `[N,K]` and biases `[N]` of layers with the same inputs, as they are stored.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Weights<'a> {
    F32(&'a [Layer<'a, f32>]),
    Bf16(&'a [Layer<'a, Bf16>]),
}

/// A weight and a bias.
pub(crate) type Layer<'a, W> = (&'a [W], &'a [W]);

/// Loads and stores of values, which are float32 in registers.
pub(crate) trait Storage: Copy + Default + Debug + Send + Sync + 'static {
    const DTYPE: Dtype;

    /// K group: consecutive K values of one column that a dot product takes together.
    const K_GROUP: usize;

    fn weights<'a>(layers: &'a [Layer<'a, Self>]) -> Weights<'a>;

    /// Loads `count` values, `S::LANES` at most, and zeros after them.
    ///
    /// # Safety
    /// `from` is valid for reads of as many.
    unsafe fn load<S: Simd>(s: S, from: *const Self, count: usize) -> S::V;

    /// Stores the first `count` values, `S::LANES` at most.
    ///
    /// # Safety
    /// `to` is valid for writes of as many.
    unsafe fn store<S: Simd>(s: S, to: *mut Self, count: usize, v: S::V);

    /// Writes one K group of a panel: `count` columns of the first `K_GROUP` rows of a matrix,
    /// the values of one column together. `rows` of these rows exist; zeros stand for the others.
    ///
    /// # Safety
    /// `from` is valid for reads of `count` values of `rows` rows, `stride` values apart; `to`
    /// for writes of `S::LANES` columns.
    unsafe fn interleave<S: Simd>(
        s: S,
        from: *const Self,
        stride: usize,
        rows: usize,
        count: usize,
        to: *mut Self,
    );
}

impl Element for f32 {
    fn to_f32(self) -> f32 {
        self
    }

    fn from_f32(value: f32) -> Self {
        value
    }
}

impl Storage for f32 {
    const DTYPE: Dtype = Dtype::F32;
    const K_GROUP: usize = 1;

    fn weights<'a>(layers: &'a [Layer<'a, Self>]) -> Weights<'a> {
        Weights::F32(layers)
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const Self, count: usize) -> S::V {
        // SAFETY: `count` values can be read, which are a whole vector in the second case.
        unsafe { if count < S::LANES { s.load_part(from, count) } else { s.load(from) } }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, to: *mut Self, count: usize, v: S::V) {
        // SAFETY: `count` values can be written, which are a whole vector in the second case.
        unsafe { if count < S::LANES { s.store_part(to, count, v) } else { s.store(to, v) } }
    }

    #[inline(always)]
    unsafe fn interleave<S: Simd>(
        s: S,
        from: *const Self,
        _: usize,
        _: usize,
        count: usize,
        to: *mut Self,
    ) {
        // SAFETY: one row is there, and room for a whole vector.
        unsafe { s.store(to, Self::load(s, from, count)) }
    }
}

impl Element for Bf16 {
    fn to_f32(self) -> f32 {
        Self::to_f32(self)
    }

    fn from_f32(value: f32) -> Self {
        Self::from_f32(value)
    }
}

impl Storage for Bf16 {
    const DTYPE: Dtype = Dtype::Bf16;
    const K_GROUP: usize = 2;

    fn weights<'a>(layers: &'a [Layer<'a, Self>]) -> Weights<'a> {
        Weights::Bf16(layers)
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const Self, count: usize) -> S::V {
        // SAFETY: the same values.
        unsafe { s.load_bf16(from.cast(), count) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, to: *mut Self, count: usize, v: S::V) {
        // SAFETY: the same values.
        unsafe { s.store_bf16(to.cast(), count, v) }
    }

    #[inline(always)]
    unsafe fn interleave<S: Simd>(
        _: S,
        from: *const Self,
        stride: usize,
        rows: usize,
        count: usize,
        to: *mut Self,
    ) {
        let to = to.cast::<[Self; 2]>();
        for i in 0..count.min(S::LANES) {
            // SAFETY: `count` values of the first row are there, of the second if it exists, and
            // room for pairs of `S::LANES` columns.
            unsafe {
                let second = if rows > 1 { *from.add(stride + i) } else { Self(0) };
                to.add(i).write([*from.add(i), second]);
            }
        }
    }
}

/// The type of quantized activations.
pub(crate) trait Integer: Copy {
    /// The type of the weights that they are multiplied with.
    type Weight;

    /// K group, as of [`Storage`].
    const K_GROUP: usize;
    /// What is added to values, which are -127 to 127.
    const ZERO_POINT: i32;

    fn weight(value: i8) -> Self::Weight;

    /// Stores the first `count` values, which are whole, with the zero point added.
    ///
    /// # Safety
    /// `to` is valid for writes of as many.
    unsafe fn store<S: Simd>(s: S, to: *mut Self, count: usize, v: S::V);
}

/// For dot products of four unsigned and four signed values.
impl Integer for u8 {
    type Weight = i8;

    const K_GROUP: usize = 4;
    const ZERO_POINT: i32 = 128;

    fn weight(value: i8) -> i8 {
        value
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, to: *mut Self, count: usize, v: S::V) {
        // SAFETY: the caller's promise.
        unsafe { s.store_u8(to, count, v) }
    }
}

/// For dot products of four signed values each.
#[cfg(target_arch = "aarch64")]
impl Integer for i8 {
    type Weight = Self;

    const K_GROUP: usize = 4;
    const ZERO_POINT: i32 = 0;

    fn weight(value: i8) -> i8 {
        value
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, to: *mut Self, count: usize, v: S::V) {
        // SAFETY: the caller's promise.
        unsafe { s.store_u8(to.cast(), count, v) }
    }
}

/// For instruction sets without such dot products: pairs of values of 16 bits, whose products
/// cannot saturate.
impl Integer for i16 {
    type Weight = Self;

    const K_GROUP: usize = 2;
    const ZERO_POINT: i32 = 0;

    fn weight(value: i8) -> i16 {
        value.into()
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, to: *mut Self, count: usize, v: S::V) {
        // SAFETY: the caller's promise.
        unsafe { s.store_i16(to, count, v) }
    }
}
