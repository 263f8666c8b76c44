//! AMX-BF16 and AMX-INT8: products in tiles.
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1,
//! chapter 18, and volume 2 for each instruction.

#[cfg(test)]
mod emulator;
mod hardware;
mod self_test;

use super::avx512_bf16::DotBf16;
use super::bf16x3::Bf16x3;
use super::{Avx512, Avx512Bf16};
use crate::arch::{Arch, Bf16Arch};
use crate::bf16::Bf16;
use crate::microkernel::{Microkernel, TileCall, reads_rows};
pub(super) use hardware::Hardware;
use std::marker::PhantomData;

pub(crate) enum Amx {}

impl Amx {
    /// Whether the CPU has them, and the process may use them.
    pub(crate) fn is_available() -> bool {
        Avx512Bf16::is_available() && hardware::is_available()
    }
}

impl Arch for Amx {
    type Simd = Avx512;
    type F32 = Bf16x3;
    type Int8 = InTiles<Int8Quads>;
}

impl Bf16Arch for Amx {
    type Bf16 = InTiles<Bf16Pairs>;
    type Bf16AnyK = DotBf16;
}

/// MR: two tiles of rows.
pub(super) const MR: usize = 2 * TILE;

/// Rows of a tile.
const TILE: usize = 16;

/// Bytes of a row of a tile.
pub(super) const ROW_BYTES: usize = 64;

/// The eight tiles, and what the instructions do with them.
///
/// # Safety
/// Functions read and write as many bytes as the tile is configured for; those
/// that are not configured must not be used.
pub(crate) trait Registers {
    unsafe fn configure(&mut self, configuration: &Configuration);
    unsafe fn release(&mut self);
    unsafe fn zero<const TO: u8>(&mut self);
    unsafe fn load<const TO: u8>(&mut self, from: *const u8, stride: usize);
    unsafe fn store<const FROM: u8>(&mut self, to: *mut u8, stride: usize);
    /// Adds the products of a tile's rows with another's columns, of pairs of
    /// bfloat16 values.
    unsafe fn add_bf16<const TO: u8, const LEFT: u8, const RIGHT: u8>(&mut self);
    /// The same, of fours of integers, unsigned times signed.
    unsafe fn add_int8<const TO: u8, const LEFT: u8, const RIGHT: u8>(&mut self);
}

/// What is multiplied.
pub(crate) trait Kind {
    type A: Copy;
    type B: Copy;

    /// # Safety
    /// As of [`Registers`].
    unsafe fn add<R: Registers, const TO: u8, const LEFT: u8, const RIGHT: u8>(tiles: &mut R);
}

/// Pairs of bfloat16 values; sums are float32.
pub(crate) struct Bf16Pairs;

impl Kind for Bf16Pairs {
    type A = Bf16;
    type B = Bf16;

    #[inline(always)]
    unsafe fn add<R: Registers, const TO: u8, const LEFT: u8, const RIGHT: u8>(tiles: &mut R) {
        // SAFETY: the caller configured the tiles.
        unsafe { tiles.add_bf16::<TO, LEFT, RIGHT>() }
    }
}

/// Groups of four 8-bit integers, unsigned times signed; sums are of 32 bits.
pub(crate) struct Int8Quads;

impl Kind for Int8Quads {
    type A = u8;
    type B = i8;

    #[inline(always)]
    unsafe fn add<R: Registers, const TO: u8, const LEFT: u8, const RIGHT: u8>(tiles: &mut R) {
        // SAFETY: the caller configured the tiles.
        unsafe { tiles.add_int8::<TO, LEFT, RIGHT>() }
    }
}

/// The microkernel of tiles.
pub(crate) struct InTiles<K> {
    tiles: Tiles<Hardware>,
    kind: PhantomData<K>,
}

impl<K: Kind> Microkernel for InTiles<K> {
    type Simd = Avx512;
    type B = K::B;
    reads_rows!(K::A);

    const MR: usize = MR;
    const K_STEP: usize = ROW_BYTES / size_of::<K::A>();
    // Accumulators stay in their tiles, which is worth more than a panel in L1d.
    const KC_BYTES: usize = usize::MAX;
    const OVERLAPS_EPILOGUE: bool = true;

    #[inline(always)]
    unsafe fn new(_: Avx512, rows: usize) -> Self {
        // SAFETY: the CPU has tiles, by the caller's promise.
        Self { tiles: unsafe { Tiles::new(Hardware, rows) }, kind: PhantomData }
    }

    #[inline(always)]
    unsafe fn run(
        &mut self,
        (): &mut (),
        call: TileCall<K::A, K::B>,
        acc: *mut f32,
        overlap: impl FnMut(),
    ) {
        // SAFETY: the caller's promise; K is a multiple of `K_STEP`.
        unsafe { self.tiles.multiply::<K>(call, acc, overlap) }
    }
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
pub(crate) struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Configuration {
    /// Sums in tiles 0 to 3: the upper rows' and the lower rows', two each. Rows of
    /// the left matrix in 4 and 5, of a panel in 6 and 7.
    fn new(rows: usize) -> Self {
        debug_assert!((1..=MR).contains(&rows));
        let upper = rows.min(TILE) as u8;
        let lower = rows as u8 - upper;
        let mut configuration =
            Self { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        let tiles = [upper, upper, lower, lower, upper, lower, TILE as u8, TILE as u8];
        for (tile, rows) in tiles.into_iter().enumerate().filter(|(_, rows)| *rows > 0) {
            configuration.rows[tile] = rows;
            configuration.row_bytes[tile] = ROW_BYTES as u16;
        }
        configuration
    }
}

/// Tiles for products of so many rows, until they are dropped.
pub(crate) struct Tiles<R: Registers> {
    registers: R,
    two: bool,
}

impl<R: Registers> Tiles<R> {
    /// # Safety
    /// The process may use tiles; `rows` is 1 to [`MR`].
    #[inline]
    pub(super) unsafe fn new(mut registers: R, rows: usize) -> Self {
        // SAFETY: the process may use tiles, and 1 to 16 rows of 64 bytes fit into each.
        unsafe { registers.configure(&Configuration::new(rows)) };
        Self { registers, two: rows > TILE }
    }

    /// Writes the products of the rows with the columns of a panel, which are 32. Calls
    /// `overlap` for each line, as tiles leave the vectors idle.
    ///
    /// # Safety
    /// There are as many values as that takes, of as many rows as tiles were configured for; K is a
    /// multiple of what a row of a tile holds.
    #[inline]
    pub(super) unsafe fn multiply<K: Kind>(
        &mut self,
        call: TileCall<K::A, K::B>,
        acc: *mut f32,
        mut overlap: impl FnMut(),
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            self.begin(call.accumulate, acc, call.ldc);
            self.add::<K>(call, &mut overlap);
            self.end(acc, call.ldc);
        }
    }

    /// Begins with sums that are there, or with zeros.
    ///
    /// # Safety
    /// As of [`Self::multiply`].
    #[inline(always)]
    pub(super) unsafe fn begin(&mut self, accumulate: bool, acc: *const f32, ldc: usize) {
        let stride = ldc * size_of::<f32>();
        let upper = acc.cast::<u8>();
        let lower = upper.wrapping_add(TILE * stride);
        let (tiles, two) = (&mut self.registers, self.two);
        // SAFETY: there are accumulators of all rows, and tiles 2 and 3 where there are two.
        unsafe {
            match accumulate {
                false => {
                    tiles.zero::<0>();
                    tiles.zero::<1>();
                    if two {
                        tiles.zero::<2>();
                        tiles.zero::<3>();
                    }
                }
                true => {
                    tiles.load::<0>(upper, stride);
                    tiles.load::<1>(upper.add(ROW_BYTES), stride);
                    if two {
                        tiles.load::<2>(lower, stride);
                        tiles.load::<3>(lower.add(ROW_BYTES), stride);
                    }
                }
            }
        }
    }

    /// Adds products.
    ///
    /// # Safety
    /// As of [`Self::multiply`]; between [`Self::begin`] and [`Self::end`].
    #[inline(always)]
    pub(super) unsafe fn add<K: Kind>(
        &mut self,
        TileCall { a, lda, b, k, prefetch, .. }: TileCall<K::A, K::B>,
        overlap: &mut impl FnMut(),
    ) {
        let bytes = k * size_of::<K::A>();
        debug_assert_eq!(bytes % ROW_BYTES, 0);
        let (tiles, two) = (&mut self.registers, self.two);
        let left_stride = lda * size_of::<K::A>();
        let (mut left, mut right) = (a.cast::<u8>(), b.cast::<u8>());
        // SAFETY: a line of 64 bytes of each row and column is left; tiles 2, 3 and 5 are
        // configured where there are two.
        unsafe {
            for line in 0..bytes / ROW_BYTES {
                prefetch.fetch(line);
                tiles.load::<6>(right, 2 * ROW_BYTES);
                tiles.load::<7>(right.add(ROW_BYTES), 2 * ROW_BYTES);
                tiles.load::<4>(left, left_stride);
                K::add::<R, 0, 4, 6>(tiles);
                K::add::<R, 1, 4, 7>(tiles);
                if two {
                    tiles.load::<5>(left.add(TILE * left_stride), left_stride);
                    K::add::<R, 2, 5, 6>(tiles);
                    K::add::<R, 3, 5, 7>(tiles);
                }
                left = left.add(ROW_BYTES);
                right = right.add(TILE * 2 * ROW_BYTES);
                overlap();
            }
        }
    }

    /// Adds the greatest products of values that are split into three parts: for
    /// each line, first those of the first parts, then of the others. The least
    /// products are added first.
    ///
    /// # Safety
    /// As of [`Self::add`].
    #[inline(always)]
    pub(super) unsafe fn add_split<K: Kind>(
        &mut self,
        TileCall { a, lda, b, k, prefetch, .. }: TileCall<K::A, K::B>,
        overlap: &mut impl FnMut(),
    ) {
        let bytes = k * size_of::<K::A>();
        debug_assert_eq!(bytes % ROW_BYTES, 0);
        let left_stride = lda * size_of::<K::A>();
        let (mut left, mut right) = (a.cast::<u8>(), b.cast::<u8>());
        let two = self.two;
        // SAFETY: three lines of 64 bytes of each row and column are left; tiles are configured as
        // in `add`.
        unsafe {
            for line in 0..bytes / ROW_BYTES {
                prefetch.fetch(line);
                macro_rules! load {
                    (left $part:literal) => {
                        let left = left.add($part * ROW_BYTES);
                        self.registers.load::<4>(left, left_stride);
                        if two {
                            self.registers.load::<5>(left.add(TILE * left_stride), left_stride);
                        }
                    };
                    (right $part:literal) => {
                        let right = right.add($part * TILE * 2 * ROW_BYTES);
                        self.registers.load::<6>(right, 2 * ROW_BYTES);
                        self.registers.load::<7>(right.add(ROW_BYTES), 2 * ROW_BYTES);
                    };
                }
                load!(left 0);
                load!(right 2);
                self.add_loaded::<K>();
                load!(right 1);
                self.add_loaded::<K>();
                load!(left 1);
                self.add_loaded::<K>();
                load!(right 0);
                self.add_loaded::<K>();
                load!(left 2);
                self.add_loaded::<K>();
                load!(left 0);
                self.add_loaded::<K>();
                left = left.add(3 * ROW_BYTES);
                right = right.add(3 * TILE * 2 * ROW_BYTES);
                overlap();
            }
        }
    }

    /// Adds the products of what is in the tiles.
    #[inline(always)]
    unsafe fn add_loaded<K: Kind>(&mut self) {
        // SAFETY: tiles 2, 3 and 5 are configured where there are two.
        unsafe {
            K::add::<R, 0, 4, 6>(&mut self.registers);
            K::add::<R, 1, 4, 7>(&mut self.registers);
            if self.two {
                K::add::<R, 2, 5, 6>(&mut self.registers);
                K::add::<R, 3, 5, 7>(&mut self.registers);
            }
        }
    }

    /// Writes the sums.
    ///
    /// # Safety
    /// As of [`Self::multiply`].
    #[inline(always)]
    pub(super) unsafe fn end(&mut self, acc: *mut f32, ldc: usize) {
        let stride = ldc * size_of::<f32>();
        let upper = acc.cast::<u8>();
        let (tiles, two) = (&mut self.registers, self.two);
        // SAFETY: there is room for accumulators of all rows.
        unsafe {
            tiles.store::<0>(upper, stride);
            tiles.store::<1>(upper.add(ROW_BYTES), stride);
            if two {
                let lower = upper.add(TILE * stride);
                tiles.store::<2>(lower, stride);
                tiles.store::<3>(lower.add(ROW_BYTES), stride);
            }
        }
    }
}

impl<R: Registers> Drop for Tiles<R> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: configured. The thread is the host's, which may not expect configured tiles.
        unsafe { self.registers.release() };
    }
}
