//! Known products: a virtual machine may announce the instructions without their effect.

use super::{Bf16Pairs, Int8Quads, Kind, MR, ROW_BYTES, Registers, Tiles};
use crate::bf16::Bf16;
use crate::microkernel::{MAX_NR, Prefetch, TileCall};

/// Whether products of small whole numbers are right.
fn multiplies<K: Kind>(
    registers: impl Registers,
    (rows, depth): (usize, usize),
    left: fn(i8) -> K::A,
    right: fn(i8) -> K::B,
    sum: fn(f32) -> i32,
) -> bool {
    let left_number = |row: usize, k: usize| ((row * 7 + k * 3) % 5) as i8;
    let right_number = |k: usize, column: usize| ((k * 5 + column * 3) % 7) as i8 - 3;
    // Rows stand further apart than they are long.
    let stride = depth + 8;
    let lefts: Vec<_> =
        (0..rows * stride).map(|at| left(left_number(at / stride, at % stride))).collect();
    let together = 4 / size_of::<K::A>();
    let panel = (0..depth * MAX_NR).map(|at| {
        let (line, place) = (at / (MAX_NR * together), at % (MAX_NR * together));
        right(right_number(line * together + place % together, place / together))
    });
    let panel: Vec<_> = panel.collect();
    let mut sums = [f32::NAN; MR * MAX_NR];
    let mut lines = 0;
    // SAFETY: as many values as that takes; the caller may use the registers.
    unsafe {
        let mut tiles = Tiles::new(registers, rows);
        let left = lefts.as_ptr();
        // A line, and the others onto it.
        let line = depth.min(ROW_BYTES / size_of::<K::A>());
        for (from, k) in [(0, line), (line, depth - line)] {
            let call = TileCall {
                rows,
                a: left.add(from),
                lda: stride,
                b: panel.as_ptr().add(from * MAX_NR),
                k,
                accumulate: from > 0,
                ldc: MAX_NR,
                prefetch: Prefetch::nothing(),
            };
            tiles.multiply::<K>(call, sums.as_mut_ptr(), || lines += 1);
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
        && lines * ROW_BYTES == depth * size_of::<K::A>()
}

/// [`multiplies`], for every kind.
pub(super) fn all_multiply<R: Registers>(
    registers: impl Fn() -> R,
    rows: usize,
    lines: usize,
) -> bool {
    let bf16 = |number: i8| Bf16::from_f32(number.into());
    let unsigned = |number: i8| number as u8;
    let signed = |number: i8| number;
    multiplies::<Bf16Pairs>(registers(), (rows, 32 * lines), bf16, bf16, |sum| sum as i32)
        && multiplies::<Int8Quads>(registers(), (rows, 64 * lines), unsigned, signed, |sum| {
            sum.to_bits() as i32
        })
}
