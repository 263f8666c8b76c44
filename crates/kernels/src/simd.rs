//! Vectors of float32.

use crate::bf16::Bf16;

/// A vector type with its operations.
///
/// A value is the proof that the CPU has the instructions: [`Self::new`] is the only way to get
/// one. Arithmetic on vectors is therefore safe. Loads and stores are not, because they take
/// pointers; they need no alignment.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// A vector.
    type V: Copy;
    /// Values in a vector.
    const LANES: usize;
    /// Rows of the f32 microkernel: MR x 2 accumulators fill the registers.
    const MR: usize;
    /// Columns of a panel.
    const NR: usize = 2 * Self::LANES;
    /// Whether [`Self::look_up`] is an instruction.
    const HAS_TABLES: bool = false;

    /// `None` if the CPU lacks the instructions.
    fn new() -> Option<Self>;

    /// Runs `op` inside a function that is compiled with the target features of this set.
    fn vectorize<Op: VectorOp<Self>>(self, op: Op) -> Op::Output;

    fn splat(self, value: f32) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The greater of both; `b` where one is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller of both; `b` where one is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    fn abs(self, a: Self::V) -> Self::V;
    fn sqrt(self, a: Self::V) -> Self::V;
    /// `then` where `a > b`; `otherwise` elsewhere, and where either is NaN.
    fn if_above(self, a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V;
    /// The nearest whole numbers, of two equally near ones the even.
    fn round(self, v: Self::V) -> Self::V;
    /// `v * 2^n` of whole `n` from -126 to 127.
    fn scale(self, v: Self::V, n: Self::V) -> Self::V;

    /// # Safety
    /// `from` is valid for reads of `LANES` values.
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// The first `count` values; zeros after them.
    ///
    /// # Safety
    /// `from` is valid for reads of `count` values.
    unsafe fn load_part(self, from: *const f32, count: usize) -> Self::V;
    /// # Safety
    /// `to` is valid for writes of `LANES` values.
    unsafe fn store(self, to: *mut f32, v: Self::V);
    /// Stores the first `count` values.
    ///
    /// # Safety
    /// `to` is valid for writes of `count` values.
    unsafe fn store_part(self, to: *mut f32, count: usize, v: Self::V);

    /// Entries of a table, whose indices are the lowest five bits of each value.
    #[inline(always)]
    fn look_up(self, table: &[f32; 32], indices: Self::V) -> Self::V {
        let entries = self.lanes(indices).map(|value| table[value.to_bits() as usize % 32]);
        // SAFETY: a vector has 16 values at most.
        unsafe { self.load(entries.as_ptr()) }
    }

    /// The first `count` values of bfloat16; zeros after them.
    ///
    /// # Safety
    /// `from` is valid for reads of `count` values.
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16, count: usize) -> Self::V {
        let mut lanes = [0.; 16];
        for (i, lane) in lanes.iter_mut().enumerate().take(count.min(Self::LANES)) {
            // SAFETY: `i < count`.
            *lane = f32::from_bits(u32::from(unsafe { *from.add(i) }) << 16);
        }
        // SAFETY: a vector has 16 values at most.
        unsafe { self.load(lanes.as_ptr()) }
    }

    /// Stores the first `count` values, rounded to the nearest bfloat16, of two equally
    /// near ones to the even.
    ///
    /// # Safety
    /// `to` is valid for writes of `count` values.
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16, count: usize, v: Self::V) {
        for (i, lane) in self.lanes(v).into_iter().enumerate().take(count.min(Self::LANES)) {
            // SAFETY: `i < count`.
            unsafe { *to.add(i) = Bf16::from_f32(lane).0 };
        }
    }

    /// Stores the lowest eight bits of the first `count` values, which are whole.
    ///
    /// # Safety
    /// `to` is valid for writes of `count` values.
    #[inline(always)]
    unsafe fn store_u8(self, to: *mut u8, count: usize, v: Self::V) {
        for (i, lane) in self.lanes(v).into_iter().enumerate().take(count.min(Self::LANES)) {
            // SAFETY: `i < count`.
            unsafe { *to.add(i) = lane as i32 as u8 };
        }
    }

    /// Stores the first `count` values, which are whole, from -32768 to 32767.
    ///
    /// # Safety
    /// `to` is valid for writes of `count` values.
    #[inline(always)]
    unsafe fn store_i16(self, to: *mut i16, count: usize, v: Self::V) {
        for (i, lane) in self.lanes(v).into_iter().enumerate().take(count.min(Self::LANES)) {
            // SAFETY: `i < count`.
            unsafe { *to.add(i) = lane as i16 };
        }
    }

    /// Differences of integers.
    ///
    /// # Safety
    /// Both are valid for reads of `LANES` values.
    #[inline(always)]
    unsafe fn sub_i32(self, a: *const i32, b: *const i32) -> Self::V {
        let mut lanes = [0.; 16];
        for (i, lane) in lanes.iter_mut().enumerate().take(Self::LANES) {
            // SAFETY: `i < LANES`.
            *lane = unsafe { *a.add(i) - *b.add(i) } as f32;
        }
        // SAFETY: a vector has 16 values at most.
        unsafe { self.load(lanes.as_ptr()) }
    }

    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.)
    }

    /// The values, zeros after them.
    #[inline(always)]
    fn lanes(self, v: Self::V) -> [f32; 16] {
        const { assert!(Self::LANES <= 16) };
        let mut lanes = [0.; 16];
        // SAFETY: a vector has 16 values at most.
        unsafe { self.store(lanes.as_mut_ptr(), v) };
        lanes
    }

    /// The sum of all values, added up in halves.
    #[inline(always)]
    fn reduce_sum(self, v: Self::V) -> f32 {
        let mut lanes = self.lanes(v);
        let mut half = Self::LANES / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] += lanes[i + half];
            }
            half /= 2;
        }
        lanes[0]
    }

    /// The greatest of all values.
    #[inline(always)]
    fn reduce_max(self, v: Self::V) -> f32 {
        let lanes = self.lanes(v);
        lanes[..Self::LANES].iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }

    /// The first `count` values of `v`, and the others of `rest`.
    #[inline(always)]
    fn select_prefix(self, v: Self::V, count: usize, rest: Self::V) -> Self::V {
        let mut lanes = self.lanes(v);
        let rest = self.lanes(rest);
        lanes[count..].copy_from_slice(&rest[count..]);
        // SAFETY: a vector has 16 values at most.
        unsafe { self.load(lanes.as_ptr()) }
    }
}

/// Work over the vectors of an instruction set. Its functions are `#[inline(always)]`, so that they
/// are compiled with the target features of the set.
pub(crate) trait VectorOp<S: Simd> {
    type Output;

    fn run(self, s: S) -> Self::Output;
}
