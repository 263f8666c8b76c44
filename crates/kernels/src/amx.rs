//! Products in tiles: AMX-BF16 and AMX-INT8.
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1,
//! chapter 18, and volume 2 for each instruction.

#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every block hands on the contract of its function"
)]

use crate::tile::{Product, WIDEST};
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
    /// [`WIDEST`], and so are the rows of sums.
    ///
    /// # Safety
    /// There are as many values as that takes; the depth is a multiple of what a
    /// row of a tile holds.
    #[inline]
    pub(crate) unsafe fn multiply<K: Kind, E>(
        &mut self,
        Product { left, stride, panel, depth }: Product<E>,
        sums: *mut f32,
    ) {
        let bytes = depth * size_of::<E>();
        debug_assert_eq!(bytes % ROW_BYTES, 0);
        let (tiles, two) = (&mut self.registers, self.two);
        let left_stride = stride * size_of::<E>();
        let (mut left, mut right) = (left.cast::<u8>(), panel.cast::<u8>());
        unsafe {
            tiles.zero::<0>();
            tiles.zero::<1>();
            if two {
                tiles.zero::<2>();
                tiles.zero::<3>();
            }
            for _ in 0..bytes / ROW_BYTES {
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
            }
            const SUMS: usize = WIDEST * size_of::<f32>();
            let upper = sums.cast::<u8>();
            tiles.store::<0>(upper, SUMS);
            tiles.store::<1>(upper.add(ROW_BYTES), SUMS);
            if two {
                let lower = upper.add(TILE * SUMS);
                tiles.store::<2>(lower, SUMS);
                tiles.store::<3>(lower.add(ROW_BYTES), SUMS);
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

#[cfg(target_arch = "x86_64")]
mod hardware {
    use super::{Configuration, ROWS, Registers, all_multiply};
    use std::arch::{asm, x86_64::__cpuid_count};
    use std::sync::OnceLock;

    /// The tiles of this thread.
    pub(crate) struct Hardware;

    impl Registers for Hardware {
        #[inline(always)]
        unsafe fn configure(&mut self, configuration: &Configuration) {
            unsafe { asm!("ldtilecfg [{}]", in(reg) configuration, options(nostack)) }
        }
        #[inline(always)]
        unsafe fn release(&mut self) {
            unsafe { asm!("tilerelease", options(nostack, nomem)) }
        }
        #[inline(always)]
        unsafe fn zero<const TO: u8>(&mut self) {
            unsafe { asm!("tilezero tmm{to}", to = const TO, options(nostack, nomem)) }
        }
        #[inline(always)]
        unsafe fn load<const TO: u8>(&mut self, from: *const u8, stride: usize) {
            unsafe {
                asm!(
                    "tileloadd tmm{to}, [{from} + {stride} * 1]",
                    to = const TO, from = in(reg) from, stride = in(reg) stride,
                    options(nostack, readonly)
                )
            }
        }
        #[inline(always)]
        unsafe fn store<const FROM: u8>(&mut self, to: *mut u8, stride: usize) {
            unsafe {
                asm!(
                    "tilestored [{to} + {stride} * 1], tmm{from}",
                    from = const FROM, to = in(reg) to, stride = in(reg) stride,
                    options(nostack)
                )
            }
        }
        #[inline(always)]
        unsafe fn add_int8<const TO: u8, const LEFT: u8, const RIGHT: u8>(&mut self) {
            unsafe {
                asm!(
                    "tdpbusd tmm{to}, tmm{left}, tmm{right}",
                    to = const TO, left = const LEFT, right = const RIGHT,
                    options(nostack, nomem)
                )
            }
        }
        #[inline(always)]
        unsafe fn add_bf16<const TO: u8, const LEFT: u8, const RIGHT: u8>(&mut self) {
            unsafe {
                asm!(
                    "tdpbf16ps tmm{to}, tmm{left}, tmm{right}",
                    to = const TO, left = const LEFT, right = const RIGHT,
                    options(nostack, nomem)
                )
            }
        }
    }

    /// Whether the CPU has tiles of bfloat16, and Linux lets the process use them.
    pub(crate) fn is_available() -> bool {
        static AVAILABLE: OnceLock<bool> = OnceLock::new();
        *AVAILABLE.get_or_init(|| {
            has_instructions() && is_permitted() && all_multiply(|| Hardware, ROWS, 2)
        })
    }

    fn has_instructions() -> bool {
        // AMX-BF16, AMX-TILE and AMX-INT8; the leaf of palettes, the first of which has
        // what `Configuration` asks for.
        const FEATURES: u32 = 1 << 22 | 1 << 24 | 1 << 25;
        let leaves = __cpuid_count(0, 0).eax;
        leaves >= 0x1d && __cpuid_count(7, 0).edx & FEATURES == FEATURES
    }

    /// Asks for the tiles' state to be kept when threads take turns, which Linux
    /// does for processes that say so.
    #[cfg(target_os = "linux")]
    fn is_permitted() -> bool {
        const ARCH_PRCTL: i64 = 158;
        const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
        const XFEATURE_XTILEDATA: u64 = 18;
        let mut result = ARCH_PRCTL;
        // SAFETY: the call changes nothing but what was asked for.
        unsafe {
            asm!(
                "syscall",
                inout("rax") result,
                in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") XFEATURE_XTILEDATA,
                out("rcx") _, out("r11") _,
                options(nostack)
            );
        }
        result == 0
    }

    #[cfg(not(target_os = "linux"))]
    fn is_permitted() -> bool {
        false
    }
}

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
    let panel = (0..depth * WIDEST).map(|at| {
        let (line, place) = (at / (WIDEST * together), at % (WIDEST * together));
        right(right_number(line * together + place % together, place / together))
    });
    let panel: Vec<_> = panel.collect();
    let product = Product { left: lefts.as_ptr(), stride, panel: panel.as_ptr(), depth };
    let mut sums = [f32::NAN; ROWS * WIDEST];
    // SAFETY: as many values as that takes; the caller may use the registers.
    unsafe { Tiles::new(registers, rows).multiply::<K, _>(product, sums.as_mut_ptr()) };
    let (written, rest) = sums.split_at(rows * WIDEST);
    let right_sums = written.iter().enumerate().all(|(at, found)| {
        let (row, column) = (at / WIDEST, at % WIDEST);
        let of = |k| i32::from(left_number(row, k)) * i32::from(right_number(k, column));
        sum(*found) == (0..depth).map(of).sum::<i32>()
    });
    right_sums && rest.iter().all(|value| value.is_nan())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Tiles as the manual describes them.
    struct Emulated<'a> {
        rows: [usize; 8],
        bytes: [[[u8; ROW_BYTES]; TILE]; 8],
        /// How many are configured.
        held: &'a Cell<i32>,
    }

    impl Emulated<'_> {
        /// Adds to each sum what four bytes of a row and of a column give.
        fn add(&mut self, tiles: [u8; 3], four: impl Fn([u8; 4], [u8; 4], [u8; 4]) -> [u8; 4]) {
            let [to, left, right] = tiles.map(usize::from);
            assert_eq!(self.rows[to], self.rows[left]);
            assert_eq!(self.rows[right], TILE);
            let at = |row: &[u8; ROW_BYTES], place: usize| -> [u8; 4] {
                row[4 * place..4 * place + 4].try_into().unwrap()
            };
            for row in 0..self.rows[to] {
                for column in 0..16 {
                    let mut sum = at(&self.bytes[to][row], column);
                    for k in 0..16 {
                        let (a, b) =
                            (at(&self.bytes[left][row], k), at(&self.bytes[right][k], column));
                        sum = four(sum, a, b);
                    }
                    self.bytes[to][row][4 * column..4 * column + 4].copy_from_slice(&sum);
                }
            }
        }
    }

    impl Registers for Emulated<'_> {
        unsafe fn configure(&mut self, configuration: &Configuration) {
            assert_eq!(size_of::<Configuration>(), 64);
            assert_eq!((configuration.palette, configuration.start_row), (1, 0));
            assert_eq!(configuration.reserved, [0; 14]);
            for tile in 0..8 {
                let rows = configuration.rows[tile];
                assert_eq!(configuration.row_bytes[tile], if rows > 0 { 64 } else { 0 });
                self.rows[tile] = rows.into();
            }
            self.held.set(self.held.get() + 1);
        }
        unsafe fn release(&mut self) {
            self.held.set(self.held.get() - 1);
        }
        unsafe fn zero<const TO: u8>(&mut self) {
            assert!(self.rows[TO as usize] > 0);
            self.bytes[TO as usize] = [[0; ROW_BYTES]; TILE];
        }
        unsafe fn load<const TO: u8>(&mut self, from: *const u8, stride: usize) {
            let to = TO as usize;
            assert!(self.rows[to] > 0);
            self.bytes[to] = [[0; ROW_BYTES]; TILE];
            for row in 0..self.rows[to] {
                self.bytes[to][row] = unsafe { from.add(row * stride).cast::<[u8; 64]>().read() };
            }
        }
        unsafe fn store<const FROM: u8>(&mut self, to: *mut u8, stride: usize) {
            let from = FROM as usize;
            assert!(self.rows[from] > 0);
            for row in 0..self.rows[from] {
                unsafe { to.add(row * stride).cast::<[u8; 64]>().write(self.bytes[from][row]) };
            }
        }
        unsafe fn add_bf16<const TO: u8, const LEFT: u8, const RIGHT: u8>(&mut self) {
            let value = |low, high| Bf16(u16::from_le_bytes([low, high])).to_f32();
            self.add([TO, LEFT, RIGHT], |sum, a, b| {
                let sum = f32::from_le_bytes(sum) + value(a[0], a[1]) * value(b[0], b[1]);
                (sum + value(a[2], a[3]) * value(b[2], b[3])).to_le_bytes()
            });
        }
        unsafe fn add_int8<const TO: u8, const LEFT: u8, const RIGHT: u8>(&mut self) {
            self.add([TO, LEFT, RIGHT], |sum, a, b| {
                let products = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(b as i8));
                (i32::from_le_bytes(sum) + products.sum::<i32>()).to_le_bytes()
            });
        }
    }

    #[test]
    fn tiles_multiply_rows_with_panels() {
        let held = Cell::new(0);
        let bytes = [[[0; ROW_BYTES]; TILE]; 8];
        for rows in 1..=ROWS {
            for lines in [1, 2, 3, 12] {
                let registers = || Emulated { rows: [0; 8], bytes, held: &held };
                assert!(all_multiply(registers, rows, lines), "{rows} rows, {lines} lines");
                assert_eq!(held.get(), 0, "tiles are released");
            }
        }
    }
}
