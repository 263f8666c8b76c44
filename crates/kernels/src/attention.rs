//! Attention over texts that lie one after the other.

mod products;

#[cfg(target_arch = "x86_64")]
use crate::amx;
use crate::element::Element;
use crate::isa::{Isa, Kernel};
use crate::math;
use crate::matrix::{Line, Rows, RowsMut};
use crate::memory::{OutOfMemory, collect, zeros};
use crate::simd::Simd;
use crate::team::{Team, share};
use crate::tile::{MAX_MR, MAX_NR, Next, Product, height, width};
#[cfg(target_arch = "x86_64")]
use products::InTiles;
use products::{InVectors, Products, TILE_DEPTH};
use std::f32::consts::LOG2_E;
use std::marker::PhantomData;

/// Fewer multiplications than this are not worth a second thread.
const MIN_PARALLEL_WORK: usize = 1 << 18;

/// Texts and how attention looks at them.
#[derive(Debug, Clone, Copy)]
pub struct Texts<'a> {
    /// The tokens of each text.
    pub lengths: &'a [usize],
    /// Number of heads.
    pub heads: usize,
}

/// Scaled dot-product attention: query, key and value side by side, `[T,3H]`
/// for texts of `T` tokens together -> `[T,H]`. Every token attends to the
/// tokens of its own text; the scale is the inverse square root of a head's
/// dimension. Of bfloat16, what each token attends with is rounded, too.
///
/// # Errors
/// If memory runs out.
///
/// # Panics
/// If the lengths are not those of the rows, the heads do not share the columns,
/// the dimension of a head is odd with bfloat16, or the CPU lacks the instructions.
pub fn attention<E: Element>(
    isa: Isa,
    team: &dyn Team,
    qkv: Rows<'_, E>,
    texts: Texts<'_>,
    out: RowsMut<'_, E>,
) -> Result<(), OutOfMemory> {
    let Texts { lengths, heads } = texts;
    assert!(isa.is_available() && (E::DEPTH == 1 || isa.multiplies_bf16()), "{isa:?}");
    assert_eq!(lengths.iter().sum::<usize>(), qkv.rows, "as many tokens as rows");
    assert_eq!((qkv.rows, qkv.width), (out.rows, 3 * out.width), "query, key, value and result");
    assert!(heads > 0 && out.width.is_multiple_of(heads), "{heads} heads of {} values", out.width);
    let head_dim = out.width / heads;
    assert!(head_dim.is_multiple_of(E::DEPTH), "heads of {head_dim} values");
    let work: usize = lengths.iter().map(|length| length * length).sum::<usize>() * out.width;
    let team: &dyn Team = if work < MIN_PARALLEL_WORK { &crate::Solo } else { team };
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let mut start = 0;
    let starts = collect(lengths.iter().map(|length| {
        start += length;
        start - length
    }))?;
    let scratch = || Scratch::new(longest, head_dim);
    share(team, lengths.len() * heads, scratch, |scratch, number| {
        let (text, head) = (number / heads, number % heads);
        let (first, length) = (starts[text], lengths[text]);
        let column = head * head_dim;
        // SAFETY: available; rows and columns are a text's and a head's, and no
        // two share a place of the result.
        unsafe {
            isa.run(Head { isa, qkv, out: &out, first, length, column, head_dim, scratch });
        }
        Ok(())
    })
}

/// Memory that a thread uses for one head after another.
struct Scratch {
    /// Panels of keys: for each dimension, theirs.
    keys: Vec<Line>,
    /// Panels of dimensions: for each key, its values.
    values: Vec<Line>,
    /// For each query of a tile, its products with all keys.
    scores: Vec<Line>,
    /// For each query of a tile, the exponentials of those.
    powers: Vec<Line>,
    /// For each query of a tile, the sum of some columns.
    sums: Vec<Line>,
}

impl Scratch {
    fn new(longest: usize, head_dim: usize) -> Result<Self, OutOfMemory> {
        // As wide as the widest panels and types, whatever is used.
        let keys = longest.next_multiple_of(MAX_NR);
        let columns = head_dim.next_multiple_of(MAX_NR);
        Ok(Self {
            keys: zeros(4 * keys * head_dim)?,
            values: zeros(4 * columns * keys)?,
            scores: zeros(4 * MAX_MR * keys)?,
            powers: zeros(4 * MAX_MR * keys)?,
            sums: zeros(4 * MAX_MR * MAX_NR)?,
        })
    }
}

/// One head of one text.
struct Head<'a, E> {
    isa: Isa,
    qkv: Rows<'a, E>,
    out: &'a RowsMut<'a, E>,
    first: usize,
    length: usize,
    column: usize,
    head_dim: usize,
    scratch: &'a mut Scratch,
}

impl<E: Element> Kernel for Head<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller's promise; there are tiles.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if self.isa == Isa::Amx && E::DEPTH == 2 && self.head_dim.is_multiple_of(TILE_DEPTH) {
                let rows = height(self.length, amx::ROWS);
                let by = InTiles(amx::Tiles::new(amx::Hardware, rows));
                return self.attend::<S, _>(by);
            }
            self.attend::<S, _>(InVectors::<S>(PhantomData));
        }
    }
}

impl<E: Element> Head<'_, E> {
    #[inline(always)]
    unsafe fn attend<S: Simd, P: Products<E>>(self, mut by: P) {
        let Self { qkv, first, length, column, head_dim, .. } = self;
        let hidden_size = qkv.width / 3;
        let keys: *mut E = self.scratch.keys.as_mut_ptr().cast();
        let values: *mut E = self.scratch.values.as_mut_ptr().cast();
        let scores: *mut f32 = self.scratch.scores.as_mut_ptr().cast();
        let powers: *mut E = self.scratch.powers.as_mut_ptr().cast();
        let sums: *mut f32 = self.scratch.sums.as_mut_ptr().cast();
        let panels = length.div_ceil(width::<S>());
        let score_stride = panels * width::<S>();
        let depth = length.next_multiple_of(P::DEPTH);
        let scale = (head_dim as f32).sqrt().recip();
        // SAFETY: the scratch memory holds panels of the longest text; rows and
        // columns are of the matrices.
        unsafe {
            let key = qkv.start.add(first * qkv.stride + hidden_size + column);
            lay_out_keys::<S, E>(key, qkv.stride, length, head_dim, keys);
            let value = qkv.start.add(first * qkv.stride + 2 * hidden_size + column);
            lay_out_values::<S, E>(value, qkv.stride, (length, depth), head_dim, values);
            let height = height(length, P::MR);
            for start in (0..length).step_by(height) {
                // Twice the same gives twice the same.
                let start = if P::ALL { start.min(length - height) } else { start };
                let rows = height.min(length - start);
                let left = qkv.start.add((first + start) * qkv.stride + column);
                for panel in 0..panels {
                    let product = Product {
                        left,
                        stride: qkv.stride,
                        panel: keys.add(panel * width::<S>() * head_dim).cast_const(),
                        depth: head_dim,
                        onto: false,
                        next: Next::nothing(),
                    };
                    // Half of the last panel is enough for few keys.
                    let half = length - panel * width::<S>() <= S::LANES;
                    let to = scores.add(panel * width::<S>());
                    by.multiply(rows, half, product, to, score_stride);
                }
                let mut shares = [0.; MAX_MR];
                for (row, share) in shares.iter_mut().enumerate().take(rows) {
                    let (from, to) = (row * score_stride, row * score_stride);
                    let sum =
                        softmax::<S, E>(scores.add(from), powers.add(to), (length, depth), scale);
                    *share = sum.recip();
                }
                for (panel, dim) in (0..head_dim).step_by(width::<S>()).enumerate() {
                    let product = Product {
                        left: powers.cast_const(),
                        stride: score_stride,
                        panel: values.add(panel * width::<S>() * depth).cast_const(),
                        depth,
                        onto: false,
                        next: Next::nothing(),
                    };
                    by.multiply(rows, head_dim - dim <= S::LANES, product, sums, width::<S>());
                    for (row, share) in shares.into_iter().enumerate().take(rows) {
                        for half in 0..2 {
                            let dim = dim + half * S::LANES;
                            if dim < head_dim {
                                let count = S::LANES.min(head_dim - dim);
                                let sum = S::load(sums.add(row * width::<S>() + half * S::LANES));
                                let place = self.out.at(first + start + row, column + dim);
                                E::store::<S>(place, count, S::mul(sum, S::splat(share)));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Copies keys into panels: for each `DEPTH` dimensions, theirs of as many keys as a panel
/// is wide. What is left of the last panel keeps what it was; nobody reads its products.
#[inline(always)]
unsafe fn lay_out_keys<S: Simd, E: Element>(
    key: *const E,
    stride: usize,
    length: usize,
    head_dim: usize,
    panels: *mut E,
) {
    // Of bfloat16, two values are one of 32 bits; of float32, one is.
    let (key, panels) = (key.cast::<u32>(), panels.cast::<u32>());
    let (stride, dims) = (stride / E::DEPTH, head_dim / E::DEPTH);
    for (number, first) in (0..length).step_by(width::<S>()).enumerate() {
        let count = width::<S>().min(length - first);
        // SAFETY: as many keys as there are, into a panel of theirs.
        unsafe {
            let key = |lane: usize, dim: usize| key.add((first + lane) * stride + dim);
            let panel = panels.add(number * width::<S>() * dims);
            let place = |lane: usize, dim: usize| panel.add(dim * width::<S>() + lane);
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

/// Copies values into panels: for each `DEPTH` keys, as many dimensions as a panel is wide;
/// zeros for keys that are not there, up to the depth.
#[inline(always)]
unsafe fn lay_out_values<S: Simd, E: Element>(
    value: *const E,
    stride: usize,
    (length, depth): (usize, usize),
    head_dim: usize,
    panels: *mut E,
) {
    for (panel, first) in (0..head_dim).step_by(width::<S>()).enumerate() {
        for half in 0..2 {
            let dim = first + half * S::LANES;
            if dim >= head_dim {
                break;
            }
            let count = S::LANES.min(head_dim - dim);
            for key in (0..length).step_by(E::DEPTH) {
                // SAFETY: as many values as there are, into a panel of theirs.
                unsafe {
                    let row = panels.add((panel * depth + key) * width::<S>());
                    let to = row.add(half * S::LANES * E::DEPTH);
                    let from = value.add(key * stride + dim);
                    E::interleave::<S>(from, stride, length - key, count, to);
                }
            }
            for key in (length.next_multiple_of(E::DEPTH)..depth).step_by(E::DEPTH) {
                // SAFETY: as above.
                unsafe {
                    let row = panels.add((panel * depth + key) * width::<S>());
                    row.add(half * S::LANES * E::DEPTH).write_bytes(0, S::LANES * E::DEPTH);
                }
            }
        }
    }
}

/// Writes the exponentials of the scores' scaled distances to the greatest; their sum is
/// returned. Up to a whole vector, what follows the scores is overwritten, and what follows
/// the exponentials becomes nothing, up to the depth too.
#[inline(always)]
unsafe fn softmax<S: Simd, E: Element>(
    scores: *mut f32,
    powers: *mut E,
    (length, depth): (usize, usize),
    scale: f32,
) -> f32 {
    let last = (length - 1) / S::LANES * S::LANES;
    // SAFETY: the rows have room for whole vectors.
    unsafe {
        // What is no score is as good as none.
        let end = scores.add(last);
        S::store(end, S::first(S::load(end), length - last, S::splat(f32::NEG_INFINITY)));
        let mut greatest = S::load(end);
        for place in (0..last).step_by(S::LANES) {
            greatest = S::max(greatest, S::load(scores.add(place)));
        }
        // The greatest itself is exactly 0 apart, however great it is.
        let (most, scale) = (S::splat(S::greatest(greatest)), S::splat(scale * LOG2_E));
        let mut sum = S::zero();
        for place in (0..=last).step_by(S::LANES) {
            let apart = S::sub(S::load(scores.add(place)), most);
            let power = math::exp2::<S>(S::mul(apart, scale));
            E::store::<S>(powers.add(place), S::LANES, power);
            sum = S::add(sum, power);
        }
        for place in (last + S::LANES..depth).step_by(S::LANES) {
            E::store::<S>(powers.add(place), S::LANES, S::zero());
        }
        S::sum(sum)
    }
}
