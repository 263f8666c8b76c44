//! The innermost loops of all matrix products: MR x NR accumulators in registers, and a loop over K.
//!
//! C = A B with A `[M,K]` and B `[K,N]`, which is stored in panels of NR columns: for each K group
//! all its values of the first column, then of the second, and so on.

mod scalar_pairs;
mod vector;

use crate::memory::OutOfMemory;
use crate::simd::Simd;
pub(crate) use scalar_pairs::ScalarPairs;
pub(crate) use vector::VectorTile;

/// The greatest NR of any instruction set.
pub(crate) const MAX_NR: usize = 32;

/// The greatest MR of any instruction set.
pub(crate) const MAX_MR: usize = 32;

/// Bytes of a panel that stay in L1d while all tiles of the block use them.
pub(crate) const L1_PANEL_BYTES: usize = 24 << 10;

/// Rows of each tile, if as few tiles as possible of up to `mr` rows are about equal.
pub(crate) fn tile_rows(rows: usize, mr: usize) -> usize {
    rows.div_ceil(rows.div_ceil(mr).max(1)).max(1)
}

/// Multiplies up to MR rows of A with one panel of B, over one block of K.
pub(crate) trait Microkernel: Sized {
    type Simd: Simd;
    /// Element of the activations.
    type Input;
    /// Element of A, which are the activations or a copy that [`Self::pack_a`] makes.
    type A;
    /// Element of a panel.
    type B;
    /// Memory that a thread keeps from one block of A to the next.
    type Workspace;

    const MR: usize;
    const NR: usize = <Self::Simd as Simd>::NR;
    /// K of one step: K is a multiple of it, except where A is packed.
    const K_STEP: usize;
    /// K blocks start at multiples of this.
    const K_ALIGN: usize = 64 / size_of::<Self::B>();
    /// Bytes of a block of a panel, so that it stays in L1d together with as much of A.
    const KC_BYTES: usize;
    /// Values of A for each K.
    const A_PER_K: usize = 1;
    /// AMX: the vector units are idle while tiles multiply, so the epilogue of the tile before runs
    /// meanwhile. All tiles have as many rows as the first.
    const OVERLAPS_EPILOGUE: bool;

    /// Memory for blocks of up to `rows` rows.
    ///
    /// # Errors
    /// If memory runs out.
    fn workspace(rows: usize, k: usize) -> Result<Self::Workspace, OutOfMemory>;

    /// A microkernel for tiles of up to `rows` rows.
    ///
    /// # Safety
    /// The CPU has its instructions; `rows` is 1 to MR.
    unsafe fn new(simd: Self::Simd, rows: usize) -> Self;

    /// The first of some rows as [`Self::run`] reads them, and how many values of A the next one is
    /// apart.
    ///
    /// # Safety
    /// There are such rows, with as many values and `lda` apart; the workspace is for as many, always
    /// of the same activations.
    unsafe fn pack_a(
        workspace: &mut Self::Workspace,
        x: (*const Self::Input, usize),
        rows: (usize, usize),
        k: usize,
    ) -> (*const Self::A, usize);

    /// Writes the accumulators. Where [`Self::OVERLAPS_EPILOGUE`], every step calls `overlap`, and
    /// all accumulators are written after the last.
    ///
    /// # Safety
    /// The rows and the panel of `call` exist; `acc` has room for their accumulators.
    unsafe fn run(
        &mut self,
        workspace: &mut Self::Workspace,
        call: TileCall<Self::A, Self::B>,
        acc: *mut f32,
        overlap: impl FnMut(),
    );

    /// The same for a panel of which the first half is wanted, neither added to what is there nor
    /// with a prefetch.
    ///
    /// # Safety
    /// As of [`Self::run`].
    #[inline(always)]
    unsafe fn run_half(
        &mut self,
        workspace: &mut Self::Workspace,
        call: TileCall<Self::A, Self::B>,
        acc: *mut f32,
    ) {
        // SAFETY: the caller's promise.
        unsafe { self.run(workspace, call, acc, || ()) }
    }
}

/// What a microkernel has that reads rows of such activations as they are.
macro_rules! reads_rows {
    ($input:ty) => {
        type Input = $input;
        type A = $input;
        type Workspace = ();

        fn workspace(_: usize, _: usize) -> Result<(), $crate::memory::OutOfMemory> {
            Ok(())
        }

        #[inline(always)]
        unsafe fn pack_a(
            (): &mut (),
            (x, lda): (*const $input, usize),
            rows: (usize, usize),
            _: usize,
        ) -> (*const $input, usize) {
            (x.wrapping_add(rows.0 * lda), lda)
        }
    };
}
pub(crate) use reads_rows;

/// Rows of A times a panel of B, or a part of both.
pub(crate) struct TileCall<A, B> {
    pub(crate) rows: usize,
    /// The first row.
    pub(crate) a: *const A,
    /// From one row to the next, in values.
    pub(crate) lda: usize,
    pub(crate) b: *const B,
    pub(crate) k: usize,
    /// Whether products are added to the accumulators that are there.
    pub(crate) accumulate: bool,
    /// From one row of accumulators to the next.
    pub(crate) ldc: usize,
    pub(crate) prefetch: Prefetch,
}

impl<A, B> Clone for TileCall<A, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<A, B> Copy for TileCall<A, B> {}

/// What is fetched into L2 meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct Prefetch {
    /// Any address.
    pub(crate) start: *const u8,
    /// Cache lines for each step.
    pub(crate) lines: usize,
}

impl Prefetch {
    /// A line that is in the cache.
    pub(crate) fn nothing() -> Self {
        static NEAR: u8 = 0;
        Self { start: &NEAR, lines: 0 }
    }

    /// Fetches one line of those that belong to a step: enough where steps are short.
    #[inline(always)]
    pub(crate) fn fetch_one(self, step: usize) {
        fetch(self.start.wrapping_add(64 * step * self.lines));
    }

    /// Fetches what belongs to a step.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn fetch(self, step: usize) {
        for line in step * self.lines..(step + 1) * self.lines {
            fetch(self.start.wrapping_add(64 * line));
        }
    }
}

#[inline(always)]
fn fetch(line: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address is no access.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(line.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a prefetch of any address is no access.
    unsafe {
        std::arch::asm!("prfm pldl2keep, [{line}]", line = in(reg) line, options(nostack, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = line;
}

/// Calls a function of tiles for a number of rows at run time, up to MR: of more, the registers would
/// not hold the accumulators, and nothing is compiled. Its contract is that of
/// [`Microkernel::run`].
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! match_rows {
    ($rows:expr, $mr:expr, $tile:ident $arguments:tt) => {
        match_rows!(@ $rows, $mr, $tile, $arguments, 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    };
    // With another constant.
    (@ $rows:expr, $mr:expr, $tile:ident, $arguments:tt, $constant:literal, $($count:literal)*) => {
        match $rows {
            // SAFETY: the CPU has the instructions of this microkernel, and the caller's promise.
            $($count if $count <= $mr => unsafe { $tile::<$count, $constant> $arguments },)*
            rows => debug_assert!(false, "{rows} rows"),
        }
    };
    (@ $rows:expr, $mr:expr, $tile:ident, $arguments:tt, $($count:literal)*) => {
        match $rows {
            // SAFETY: the CPU has the instructions of this microkernel, and the caller's promise.
            $($count if $count <= $mr => unsafe { $tile::<$count> $arguments },)*
            rows => debug_assert!(false, "{rows} rows"),
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use match_rows;
