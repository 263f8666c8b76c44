//! Products in emulated tiles.

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
                    let (a, b) = (at(&self.bytes[left][row], k), at(&self.bytes[right][k], column));
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
