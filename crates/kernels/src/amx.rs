//! Products in tiles: AMX-BF16 and AMX-INT8.
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1,
//! chapter 18, and volume 2 for each instruction.

#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every block hands on the contract of its function"
)]

#[cfg(target_arch = "x86_64")]
mod hardware;
#[cfg(test)]
mod tests;

use crate::tile::{MAX_NR, Next, Product};
use crate::{Bf16, Element};

/// Rows of the left matrix that are multiplied together, at the most: two tiles.
pub(crate) const ROWS: usize = 2 * TILE;

/// Rows of a tile.
const TILE: usize = 16;

/// Bytes of a row of a tile.
pub(crate) const ROW_BYTES: usize = 64;

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
    /// # Safety
    /// As of [`Registers`].
    unsafe fn add<R: Registers, const TO: u8, const LEFT: u8, const RIGHT: u8>(tiles: &mut R);
}

/// Pairs of bfloat16 values; sums are float32.
pub(crate) struct Bf16Pairs;

impl Kind for Bf16Pairs {
    #[inline(always)]
    unsafe fn add<R: Registers, const TO: u8, const LEFT: u8, const RIGHT: u8>(tiles: &mut R) {
        unsafe { tiles.add_bf16::<TO, LEFT, RIGHT>() }
    }
}

/// Fours of 8-bit integers, unsigned times signed; sums are of 32 bits.
pub(crate) struct Int8Quads;

impl Kind for Int8Quads {
    #[inline(always)]
    unsafe fn add<R: Registers, const TO: u8, const LEFT: u8, const RIGHT: u8>(tiles: &mut R) {
        unsafe { tiles.add_int8::<TO, LEFT, RIGHT>() }
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
        debug_assert!((1..=ROWS).contains(&rows));
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
    /// The process may use tiles; `rows` is 1 to [`ROWS`].
    #[inline]
    pub(crate) unsafe fn new(mut registers: R, rows: usize) -> Self {
        unsafe { registers.configure(&Configuration::new(rows)) };
        Self { registers, two: rows > TILE }
    }

    /// Writes the products of the rows with the columns of a panel, which is
    /// [`MAX_NR`]; rows of sums stand as far apart as is said. Calls `meanwhile` for
    /// each line, as tiles leave the vectors idle.
    ///
    /// # Safety
    /// There are as many values as that takes; the depth is a multiple of what a
    /// row of a tile holds.
    #[inline]
    pub(crate) unsafe fn multiply<K: Kind, E>(
        &mut self,
        product: Product<E>,
        sums: *mut f32,
        sums_stride: usize,
        mut meanwhile: impl FnMut(),
    ) {
        unsafe {
            self.begin(product.onto, sums, sums_stride);
            self.add::<K, E>(product, &mut meanwhile);
            self.end(sums, sums_stride);
        }
    }

    /// Begins with sums that are there, or with zeros.
    ///
    /// # Safety
    /// As of [`Self::multiply`].
    #[inline(always)]
    pub(crate) unsafe fn begin(&mut self, onto: bool, sums: *const f32, sums_stride: usize) {
        let stride = sums_stride * size_of::<f32>();
        let upper = sums.cast::<u8>();
        let lower = upper.wrapping_add(TILE * stride);
        let (tiles, two) = (&mut self.registers, self.two);
        unsafe {
            match onto {
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
    pub(crate) unsafe fn add<K: Kind, E>(
        &mut self,
        Product { left, stride, panel, depth, next, .. }: Product<E>,
        meanwhile: &mut impl FnMut(),
    ) {
        let bytes = depth * size_of::<E>();
        debug_assert_eq!(bytes % ROW_BYTES, 0);
        let (tiles, two) = (&mut self.registers, self.two);
        let left_stride = stride * size_of::<E>();
        let (mut left, mut right) = (left.cast::<u8>(), panel.cast::<u8>());
        unsafe {
            for line in 0..bytes / ROW_BYTES {
                next.fetch(line);
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
                meanwhile();
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
    pub(crate) unsafe fn add_split<K: Kind, E>(
        &mut self,
        Product { left, stride, panel, depth, next, .. }: Product<E>,
        meanwhile: &mut impl FnMut(),
    ) {
        let bytes = depth * size_of::<E>();
        debug_assert_eq!(bytes % ROW_BYTES, 0);
        let left_stride = stride * size_of::<E>();
        let (mut left, mut right) = (left.cast::<u8>(), panel.cast::<u8>());
        let two = self.two;
        unsafe {
            for line in 0..bytes / ROW_BYTES {
                next.fetch(line);
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
                meanwhile();
            }
        }
    }

    /// Adds the products of what is in the tiles.
    #[inline(always)]
    unsafe fn add_loaded<K: Kind>(&mut self) {
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
    pub(crate) unsafe fn end(&mut self, sums: *mut f32, sums_stride: usize) {
        let stride = sums_stride * size_of::<f32>();
        let upper = sums.cast::<u8>();
        let (tiles, two) = (&mut self.registers, self.two);
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
        // SAFETY: configured. The thread is somebody else's, who may not expect them.
        unsafe { self.registers.release() };
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use hardware::{Hardware, is_available};

/// Whether small whole numbers are multiplied right: what emulates a CPU may have
/// the instructions without their sense.
fn multiplies<K: Kind, E: Copy>(
    registers: impl Registers,
    (rows, depth): (usize, usize),
    [left, right]: [fn(i8) -> E; 2],
    sum: fn(f32) -> i32,
) -> bool {
    let left_number = |row: usize, k: usize| ((row * 7 + k * 3) % 5) as i8;
    let right_number = |k: usize, column: usize| ((k * 5 + column * 3) % 7) as i8 - 3;
    // Rows stand further apart than they are long.
    let stride = depth + 8;
    let lefts: Vec<_> =
        (0..rows * stride).map(|at| left(left_number(at / stride, at % stride))).collect();
    let together = 4 / size_of::<E>();
    let panel = (0..depth * MAX_NR).map(|at| {
        let (line, place) = (at / (MAX_NR * together), at % (MAX_NR * together));
        right(right_number(line * together + place % together, place / together))
    });
    let panel: Vec<_> = panel.collect();
    let mut sums = [f32::NAN; ROWS * MAX_NR];
    let mut lines = 0;
    // SAFETY: as many values as that takes; the caller may use the registers.
    unsafe {
        let mut tiles = Tiles::new(registers, rows);
        let left = lefts.as_ptr();
        // A line, and the others onto it.
        let line = depth.min(ROW_BYTES / size_of::<E>());
        for (from, depth) in [(0, line), (line, depth - line)] {
            let (left, panel) = (left.add(from), panel.as_ptr().add(from * MAX_NR));
            let onto = from > 0;
            let product = Product { left, stride, panel, depth, onto, next: Next::nothing() };
            tiles.multiply::<K, _>(product, sums.as_mut_ptr(), MAX_NR, || lines += 1);
        }
    }
    let (written, rest) = sums.split_at(rows * MAX_NR);
    let right_sums = written.iter().enumerate().all(|(at, found)| {
        let (row, column) = (at / MAX_NR, at % MAX_NR);
        let of = |k| i32::from(left_number(row, k)) * i32::from(right_number(k, column));
        sum(*found) == (0..depth).map(of).sum::<i32>()
    });
    right_sums
        && rest.iter().all(|value| value.is_nan())
        && lines * ROW_BYTES == depth * size_of::<E>()
}

/// [`multiplies`], for every kind.
fn all_multiply<R: Registers>(registers: impl Fn() -> R, rows: usize, lines: usize) -> bool {
    let bf16 = |number: i8| Bf16::from_f32(number.into());
    let byte = |number: i8| number as u8;
    multiplies::<Bf16Pairs, _>(registers(), (rows, 32 * lines), [bf16; 2], |sum| sum as i32)
        && multiplies::<Int8Quads, _>(registers(), (rows, 64 * lines), [byte; 2], |sum| {
            sum.to_bits() as i32
        })
}
