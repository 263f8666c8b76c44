//! Tiles as the manual describes them, for tests on CPUs without AMX.

use super::self_test::all_multiply;
use super::*;
use crate::microkernel::{MAX_NR, Prefetch};
use std::cell::Cell;

/// Tiles as the manual describes them.
struct Emulated<'a> {
    rows: [usize; 8],
    bytes: [[[u8; ROW_BYTES]; TILE]; 8],
    /// How many are configured.
    held: &'a Cell<i32>,
}

impl<'a> Emulated<'a> {
    fn new(held: &'a Cell<i32>) -> Self {
        Self { rows: [0; 8], bytes: [[[0; ROW_BYTES]; TILE]; 8], held }
    }

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
            // SAFETY: the caller's rows exist.
            self.bytes[to][row] = unsafe { from.add(row * stride).cast::<[u8; 64]>().read() };
        }
    }
    unsafe fn store<const FROM: u8>(&mut self, to: *mut u8, stride: usize) {
        let from = FROM as usize;
        assert!(self.rows[from] > 0);
        for row in 0..self.rows[from] {
            // SAFETY: there is room for the caller's rows.
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
    for rows in 1..=MR {
        for lines in [1, 2, 3, 12] {
            let registers = || Emulated::new(&held);
            assert!(all_multiply(registers, rows, lines), "{rows} rows, {lines} lines");
            assert_eq!(held.get(), 0, "tiles are released");
        }
    }
}

#[test]
fn of_split_values_the_six_greatest_products_are_added() {
    let held = Cell::new(0);
    let (line, parts) = (ROW_BYTES / 2, 3);
    let number = |seed: usize, at: usize| ((at * 7 + seed) % 11) as f32 - 5.;
    for (rows, lines) in [(1, 2), (16, 1), (17, 3), (MR, 4)] {
        // For each line, a row's values of each part.
        let stride = lines * parts * line + 8;
        let left = |row: usize, part: usize, k: usize| {
            number(1, row * stride + (k / line * parts + part) * line + k % line)
        };
        // For each line, pairs of each column, of each part.
        let right = |column: usize, part: usize, k: usize| {
            let line_pairs = ((k / line * parts + part) * line + k % line / 2 * 2) * MAX_NR;
            number(2, line_pairs + 2 * column + k % 2)
        };
        let bf16 = |seed| move |at| Bf16::from_f32(number(seed, at));
        let lefts: Vec<_> = (0..rows * stride).map(bf16(1)).collect();
        let panel: Vec<_> = (0..lines * parts * line * MAX_NR).map(bf16(2)).collect();
        let call = TileCall {
            rows,
            a: lefts.as_ptr(),
            lda: stride,
            b: panel.as_ptr(),
            k: lines * line,
            accumulate: false,
            ldc: MAX_NR,
            prefetch: Prefetch::nothing(),
        };
        let mut sums = vec![f32::NAN; rows * MAX_NR];
        let (registers, mut steps) = (Emulated::new(&held), 0);
        // SAFETY: as many values as that takes.
        unsafe {
            let mut tiles = Tiles::new(registers, rows);
            tiles.begin(false, sums.as_ptr(), MAX_NR);
            tiles.add_split::<Bf16Pairs>(call, &mut || steps += 1);
            tiles.end(sums.as_mut_ptr(), MAX_NR);
        }
        assert_eq!(steps, lines);
        for (at, found) in sums.into_iter().enumerate() {
            let (row, column) = (at / MAX_NR, at % MAX_NR);
            let pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0)];
            let of = |(a, b)| -> f32 {
                (0..lines * line).map(|k| left(row, a, k) * right(column, b, k)).sum()
            };
            assert_eq!(found, pairs.into_iter().map(of).sum::<f32>(), "{rows} rows: {at}");
        }
    }
}
