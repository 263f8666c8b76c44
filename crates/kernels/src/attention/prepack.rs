//! Keys and values in the order in which products read them.

use crate::element::Element;
use crate::simd::Simd;

/// Copies keys, which begin where `start` says, into panels: for each K group of dimensions,
/// theirs of as many keys as a panel is wide. What is left of the last panel keeps what it was;
/// nobody reads its products.
#[inline(always)]
pub(super) unsafe fn prepack_keys<S: Simd, E: Element>(
    _: S,
    start: impl Fn(usize) -> *const E,
    length: usize,
    head_dim: usize,
    panels: *mut E,
) {
    // Of bfloat16, two values are one of 32 bits; of float32, one is.
    let (panels, dims) = (panels.cast::<u32>(), head_dim / E::K_GROUP);
    for (number, first) in (0..length).step_by(S::NR).enumerate() {
        let count = S::NR.min(length - first);
        // SAFETY: as many keys as there are, into a panel of theirs.
        unsafe {
            let key = |lane: usize, dim: usize| start(first + lane).cast::<u32>().add(dim);
            let panel = panels.add(number * S::NR * dims);
            let place = |lane: usize, dim: usize| panel.add(dim * S::NR + lane);
            // Four of each at once, which is what registers turn around.
            let (whole_lanes, whole_dims) = (count / 4 * 4, dims / 4 * 4);
            for lane in (0..whole_lanes).step_by(4) {
                for dim in (0..whole_dims).step_by(4) {
                    let rows: [[u32; 4]; 4] = [0, 1, 2, 3]
                        .map(|i| key(lane + i, dim).cast::<[u32; 4]>().read_unaligned());
                    let columns: [[u32; 4]; 4] = std::array::from_fn(|i| rows.map(|row| row[i]));
                    for (i, column) in columns.into_iter().enumerate() {
                        place(lane, dim + i).cast::<[u32; 4]>().write_unaligned(column);
                    }
                }
            }
            for lane in 0..count {
                for dim in if lane < whole_lanes { whole_dims } else { 0 }..dims {
                    place(lane, dim).write(key(lane, dim).read_unaligned());
                }
            }
        }
    }
}

/// Copies values into panels: for each K group of keys, as many dimensions as a panel is wide;
/// zeros for keys that are not there, up to the depth.
#[inline(always)]
pub(super) unsafe fn prepack_values<S: Simd, E: Element>(
    s: S,
    value: *const E,
    stride: usize,
    (length, depth): (usize, usize),
    head_dim: usize,
    panels: *mut E,
) {
    for (panel, first) in (0..head_dim).step_by(S::NR).enumerate() {
        for half in 0..2 {
            let dim = first + half * S::LANES;
            if dim >= head_dim {
                break;
            }
            let count = S::LANES.min(head_dim - dim);
            for key in (0..length).step_by(E::K_GROUP) {
                // SAFETY: as many values as there are, into a panel of theirs.
                unsafe {
                    let row = panels.add((panel * depth + key) * S::NR);
                    let to = row.add(half * S::LANES * E::K_GROUP);
                    let from = value.add(key * stride + dim);
                    E::interleave(s, from, stride, length - key, count, to);
                }
            }
            for key in (length.next_multiple_of(E::K_GROUP)..depth).step_by(E::K_GROUP) {
                // SAFETY: as above.
                unsafe {
                    let row = panels.add((panel * depth + key) * S::NR);
                    row.add(half * S::LANES * E::K_GROUP).write_bytes(0, S::LANES * E::K_GROUP);
                }
            }
        }
    }
}
