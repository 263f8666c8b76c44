//! Products of bfloat16 values in tiles: AMX-BF16.
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1,
//! chapter 18, and volume 2 for each instruction.

#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every block hands on the contract of its function"
)]

use crate::Bf16;
use crate::tile::Product;

/// Rows of the left matrix that are multiplied together, at the most: two tiles.
pub(crate) const ROWS: usize = 2 * TILE;

/// Values of a row that a tile holds.
pub(crate) const DEPTH: usize = 32;

/// Rows of a tile.
const TILE: usize = 16;

/// Bytes of a row of a tile.
const ROW_BYTES: usize = 64;

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
    /// Adds the products of a tile's rows with another's columns, of pairs.
    unsafe fn add_products<const TO: u8, const LEFT: u8, const RIGHT: u8>(&mut self);
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

    /// Writes the products of the rows with the panel's 32 columns, `stride`
    /// values apart.
    ///
    /// # Safety
    /// There are as many values as that takes; the depth is a multiple of [`DEPTH`].
    #[inline]
    pub(crate) unsafe fn multiply(
        &mut self,
        Product { left, stride, panel, depth }: Product<Bf16>,
        to: *mut f32,
        to_stride: usize,
    ) {
        debug_assert_eq!(depth % DEPTH, 0);
        let (tiles, two) = (&mut self.registers, self.two);
        let left_stride = stride * size_of::<Bf16>();
        let (mut left, mut right) = (left.cast::<u8>(), panel.cast::<u8>());
        unsafe {
            tiles.zero::<0>();
            tiles.zero::<1>();
            if two {
                tiles.zero::<2>();
                tiles.zero::<3>();
            }
            for _ in 0..depth / DEPTH {
                tiles.load::<6>(right, 2 * ROW_BYTES);
                tiles.load::<7>(right.add(ROW_BYTES), 2 * ROW_BYTES);
                tiles.load::<4>(left, left_stride);
                tiles.add_products::<0, 4, 6>();
                tiles.add_products::<1, 4, 7>();
                if two {
                    tiles.load::<5>(left.add(TILE * left_stride), left_stride);
                    tiles.add_products::<2, 5, 6>();
                    tiles.add_products::<3, 5, 7>();
                }
                left = left.add(ROW_BYTES);
                right = right.add(TILE * 2 * ROW_BYTES);
            }
            let to_bytes = to_stride * size_of::<f32>();
            let upper = to.cast::<u8>();
            tiles.store::<0>(upper, to_bytes);
            tiles.store::<1>(upper.add(ROW_BYTES), to_bytes);
            if two {
                let lower = upper.add(TILE * to_bytes);
                tiles.store::<2>(lower, to_bytes);
                tiles.store::<3>(lower.add(ROW_BYTES), to_bytes);
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
    use super::{Configuration, DEPTH, ROWS, Registers, TILE, Tiles};
    use crate::{Bf16, Element, tile::Product};
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
        unsafe fn add_products<const TO: u8, const LEFT: u8, const RIGHT: u8>(&mut self) {
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
        *AVAILABLE.get_or_init(|| has_instructions() && is_permitted() && multiplies())
    }

    fn has_instructions() -> bool {
        // AMX-BF16 and AMX-TILE.
        const FEATURES: u32 = 1 << 22 | 1 << 24;
        // Palette 1 has what `Configuration` asks for.
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

    /// Whether small whole numbers are multiplied right: what emulates a CPU may
    /// have the instructions without their sense.
    fn multiplies() -> bool {
        let number = |row: usize, column: usize| ((row * 7 + column * 3) % 5) as f32 - 2.;
        let left: Vec<_> =
            (0..ROWS * DEPTH).map(|at| Bf16::from_f32(number(at / DEPTH, at % DEPTH))).collect();
        let panel: Vec<_> = (0..2 * TILE * DEPTH)
            .map(|at| (at / (4 * TILE) * 2 + at % 2, at % (4 * TILE) / 2))
            .map(|(row, column)| Bf16::from_f32(number(row, column + 1)))
            .collect();
        let product =
            Product { left: left.as_ptr(), stride: DEPTH, panel: panel.as_ptr(), depth: DEPTH };
        let mut sums = [0.; ROWS * 2 * TILE];
        // SAFETY: permitted; as many values as that takes.
        unsafe { Tiles::new(Hardware, ROWS).multiply(product, sums.as_mut_ptr(), 2 * TILE) };
        sums.into_iter().enumerate().all(|(at, sum)| {
            let (row, column) = (at / (2 * TILE), at % (2 * TILE));
            sum == (0..DEPTH).map(|k| number(row, k) * number(k, column + 1)).sum()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Element;

    /// Tiles as the manual describes them.
    struct Emulated<'a> {
        rows: [usize; 8],
        bytes: [[[u8; ROW_BYTES]; TILE]; 8],
        released: &'a mut bool,
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
        }
        unsafe fn release(&mut self) {
            *self.released = true;
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
        unsafe fn add_products<const TO: u8, const LEFT: u8, const RIGHT: u8>(&mut self) {
            let [to, left, right] = [TO, LEFT, RIGHT].map(usize::from);
            // Rows of the left, and pairs of its rows are rows of the right.
            assert_eq!(self.rows[to], self.rows[left]);
            assert_eq!(self.rows[right], TILE);
            let pair = |bytes: &[u8; ROW_BYTES], at: usize| {
                [0, 2].map(|half| {
                    let value = [bytes[4 * at + half], bytes[4 * at + half + 1]];
                    Bf16(u16::from_le_bytes(value)).to_f32()
                })
            };
            for row in 0..self.rows[to] {
                for column in 0..16 {
                    let place = 4 * column..4 * column + 4;
                    let mut sum =
                        f32::from_le_bytes(self.bytes[to][row][place.clone()].try_into().unwrap());
                    for k in 0..16 {
                        let [a, b] = pair(&self.bytes[left][row], k);
                        let [c, d] = pair(&self.bytes[right][k], column);
                        sum += a * c;
                        sum += b * d;
                    }
                    self.bytes[to][row][place].copy_from_slice(&sum.to_le_bytes());
                }
            }
        }
    }

    #[test]
    fn tiles_multiply_rows_with_panels() {
        for (rows, depth) in [(1, 32), (2, 96), (15, 32), (16, 64), (17, 32), (31, 64), (32, 384)] {
            // Whole numbers, so that every sum is exact; rows stand further apart than they
            // are long, and what is between them must not matter.
            let (stride, to_stride) = (depth + 6, 40);
            let number = |row: usize, column: usize| ((row * 31 + column * 17) % 13) as f32 - 6.;
            let mut left = vec![Bf16::from_f32(f32::NAN); rows * stride];
            for (at, value) in left.iter_mut().enumerate().filter(|(at, _)| at % stride < depth) {
                *value = Bf16::from_f32(number(at / stride, at % stride));
            }
            left.truncate((rows - 1) * stride + depth);
            let mut panel = vec![Bf16(0); depth * 32];
            for (at, value) in panel.iter_mut().enumerate() {
                let (k, column) = (at / 64 * 2 + at % 2, at % 64 / 2);
                *value = Bf16::from_f32(number(k + 1, column));
            }
            let mut sums = vec![f32::NAN; (rows - 1) * to_stride + 32];
            let mut released = false;
            unsafe {
                let bytes = [[[0; ROW_BYTES]; TILE]; 8];
                let registers = Emulated { rows: [0; 8], bytes, released: &mut released };
                let (left, panel) = (left.as_ptr(), panel.as_ptr());
                let product = Product { left, stride, panel, depth };
                Tiles::new(registers, rows).multiply(product, sums.as_mut_ptr(), to_stride);
            }
            assert!(released);
            for (at, sum) in sums.into_iter().enumerate() {
                let (row, column) = (at / to_stride, at % to_stride);
                if column < 32 {
                    let exact: f32 =
                        (0..depth).map(|k| number(row, k) * number(k + 1, column)).sum();
                    assert_eq!(sum, exact, "{rows} rows, depth {depth}: {row}, {column}");
                } else {
                    assert!(sum.is_nan());
                }
            }
        }
    }
}
