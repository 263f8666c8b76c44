//! Attention over texts that lie one after the other.

use crate::element::{Element, Operations};
use crate::isa::{Isa, Kernel};
use crate::math;
use crate::matrix::{Line, Rows, RowsMut, zeros};
use crate::simd::Simd;
use crate::team::{Team, share};
use crate::tile::{HIGHEST, Product, WIDEST, half_tile, tile, width};

/// Fewer multiplications than this are not worth a second thread.
const WORTH_SHARING: usize = 1 << 18;

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
/// dimension.
///
/// # Panics
/// If the lengths are not those of the rows, the heads do not share the columns,
/// or the CPU lacks the instructions.
pub fn attention<O: Element>(
    isa: Isa,
    team: &dyn Team,
    qkv: Rows<'_, f32>,
    texts: Texts<'_>,
    out: RowsMut<'_, O>,
) {
    let Texts { lengths, heads } = texts;
    assert!(isa.is_available(), "{isa:?}");
    assert_eq!(lengths.iter().sum::<usize>(), qkv.rows, "as many tokens as rows");
    assert_eq!((qkv.rows, qkv.width), (out.rows, 3 * out.width), "query, key, value and result");
    assert!(heads > 0 && out.width.is_multiple_of(heads), "{heads} heads of {} values", out.width);
    let head_dim = out.width / heads;
    let work: usize = lengths.iter().map(|length| length * length).sum::<usize>() * out.width;
    let team: &dyn Team = if work < WORTH_SHARING { &crate::Solo } else { team };
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let mut start = 0;
    let starts: Vec<_> = lengths
        .iter()
        .map(|length| {
            start += length;
            start - length
        })
        .collect();
    let scratch = || Scratch::new(longest, head_dim);
    share(team, lengths.len() * heads, scratch, |scratch, number| {
        let (text, head) = (number / heads, number % heads);
        let (first, length) = (starts[text], lengths[text]);
        let column = head * head_dim;
        // SAFETY: available; rows and columns are a text's and a head's, and no
        // two share a place of the result.
        unsafe {
            isa.run(Head { qkv, out: &out, first, length, column, head_dim, scratch });
        }
    });
}

/// Memory that a thread uses for one head after another.
struct Scratch {
    /// Panels of keys: for each dimension, theirs.
    keys: Vec<Line>,
    /// Panels of dimensions: for each key, its values.
    values: Vec<Line>,
    /// For each query of a tile, its products with all keys.
    scores: Vec<Line>,
    /// For each query of a tile, the sum of some columns.
    sums: Vec<Line>,
}

impl Scratch {
    fn new(longest: usize, head_dim: usize) -> Self {
        // As wide as the widest panels, whatever the instruction set.
        let keys = longest.next_multiple_of(WIDEST);
        let columns = head_dim.next_multiple_of(WIDEST);
        Self {
            keys: zeros(4 * keys * head_dim),
            values: zeros(4 * columns * longest),
            scores: zeros(4 * HIGHEST * keys),
            sums: zeros(4 * HIGHEST * WIDEST),
        }
    }
}

/// One head of one text.
struct Head<'a, O> {
    qkv: Rows<'a, f32>,
    out: &'a RowsMut<'a, O>,
    first: usize,
    length: usize,
    column: usize,
    head_dim: usize,
    scratch: &'a mut Scratch,
}

impl<O: Element> Kernel for Head<'_, O> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { qkv, first, length, column, head_dim, .. } = self;
        let hidden_size = qkv.width / 3;
        let keys: *mut f32 = self.scratch.keys.as_mut_ptr().cast();
        let values: *mut f32 = self.scratch.values.as_mut_ptr().cast();
        let scores: *mut f32 = self.scratch.scores.as_mut_ptr().cast();
        let sums: *mut f32 = self.scratch.sums.as_mut_ptr().cast();
        let panels = length.div_ceil(width::<S>());
        let score_stride = panels * width::<S>();
        let scale = (head_dim as f32).sqrt().recip();
        // SAFETY: the scratch memory holds panels of the longest text; rows and
        // columns are of the matrices.
        unsafe {
            let key = qkv.start.add(first * qkv.stride + hidden_size + column);
            lay_out_keys::<S>(key, qkv.stride, length, head_dim, keys);
            let value = qkv.start.add(first * qkv.stride + 2 * hidden_size + column);
            lay_out_values::<S>(value, qkv.stride, length, head_dim, values);
            let tiles = length.div_ceil(S::ROWS);
            for number in 0..tiles {
                let start = length * number / tiles;
                let rows = length * (number + 1) / tiles - start;
                let left = qkv.start.add((first + start) * qkv.stride + column);
                for panel in 0..panels {
                    let panel_keys = keys.add(panel * width::<S>() * head_dim);
                    let product =
                        Product { left, stride: qkv.stride, panel: panel_keys, depth: head_dim };
                    let to = scores.add(panel * width::<S>());
                    // Half of the last panel is enough for few keys.
                    match length - panel * width::<S>() <= S::LANES {
                        true => half_tile::<S>(rows, product, to, score_stride),
                        false => tile::<S, f32>(rows, product, to, score_stride),
                    }
                }
                let mut shares = [0.; HIGHEST];
                for (row, share) in shares.iter_mut().enumerate().take(rows) {
                    *share = softmax::<S>(scores.add(row * score_stride), length, scale).recip();
                }
                for (panel, dim) in (0..head_dim).step_by(width::<S>()).enumerate() {
                    let product = Product {
                        left: scores.cast_const(),
                        stride: score_stride,
                        panel: values.add(panel * width::<S>() * length),
                        depth: length,
                    };
                    tile::<S, f32>(rows, product, sums, width::<S>());
                    for (row, share) in shares.into_iter().enumerate().take(rows) {
                        for half in 0..2 {
                            let dim = dim + half * S::LANES;
                            if dim < head_dim {
                                let count = S::LANES.min(head_dim - dim);
                                let sum = S::load(sums.add(row * width::<S>() + half * S::LANES));
                                let place = self.out.at(first + start + row, column + dim);
                                O::store::<S>(place, count, S::mul(sum, S::splat(share)));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Copies keys into panels: for each dimension, as many of them as a panel is wide.
/// What is left of the last panel keeps what it was; nobody reads its products.
#[inline(always)]
unsafe fn lay_out_keys<S: Simd>(
    key: *const f32,
    stride: usize,
    length: usize,
    head_dim: usize,
    panels: *mut f32,
) {
    for (number, first) in (0..length).step_by(width::<S>()).enumerate() {
        let count = width::<S>().min(length - first);
        // SAFETY: as many keys as there are, into a panel of theirs.
        unsafe {
            let key = |lane: usize, dim: usize| key.add((first + lane) * stride + dim);
            let panel = panels.add(number * width::<S>() * head_dim);
            let place = |lane: usize, dim: usize| panel.add(dim * width::<S>() + lane);
            // Four of each at once, which is what registers turn around.
            let (lanes, dims) = (count / 4 * 4, head_dim / 4 * 4);
            for lane in (0..lanes).step_by(4) {
                for dim in (0..dims).step_by(4) {
                    let rows: [[f32; 4]; 4] = [0, 1, 2, 3]
                        .map(|i| key(lane + i, dim).cast::<[f32; 4]>().read_unaligned());
                    let columns: [[f32; 4]; 4] = std::array::from_fn(|i| rows.map(|row| row[i]));
                    for (i, column) in columns.into_iter().enumerate() {
                        place(lane, dim + i).cast::<[f32; 4]>().write_unaligned(column);
                    }
                }
            }
            for lane in 0..count {
                for dim in if lane < lanes { dims } else { 0 }..head_dim {
                    *place(lane, dim) = *key(lane, dim);
                }
            }
        }
    }
}

/// Copies values into panels: for each key, as many dimensions as a panel is wide.
#[inline(always)]
unsafe fn lay_out_values<S: Simd>(
    value: *const f32,
    stride: usize,
    length: usize,
    head_dim: usize,
    panels: *mut f32,
) {
    for (panel, first) in (0..head_dim).step_by(width::<S>()).enumerate() {
        for half in 0..2 {
            let dim = first + half * S::LANES;
            if dim >= head_dim {
                break;
            }
            let count = S::LANES.min(head_dim - dim);
            for key in 0..length {
                // SAFETY: as many values as there are, into a panel of theirs.
                unsafe {
                    let values =
                        <f32 as Operations>::load::<S>(value.add(key * stride + dim), count);
                    let row = panels.add((panel * length + key) * width::<S>());
                    S::store(row.add(half * S::LANES), values);
                }
            }
        }
    }
}

/// Scores become the exponentials of their scaled distance to the greatest; their sum is
/// returned. Up to a whole vector, what follows the scores is overwritten.
#[inline(always)]
unsafe fn softmax<S: Simd>(scores: *mut f32, length: usize, scale: f32) -> f32 {
    let last = (length - 1) / S::LANES * S::LANES;
    // SAFETY: the row has room for whole vectors.
    unsafe {
        // What is no score is as good as none.
        let end = scores.add(last);
        S::store(end, S::first(S::load(end), length - last, S::splat(f32::NEG_INFINITY)));
        let mut greatest = S::load(end);
        for place in (0..last).step_by(S::LANES) {
            greatest = S::max(greatest, S::load(scores.add(place)));
        }
        // The greatest itself is exactly 0 apart, however great it is.
        let (most, scale) = (S::splat(S::greatest(greatest)), S::splat(scale));
        let mut sum = S::zero();
        for place in (0..=last).step_by(S::LANES) {
            let apart = S::sub(S::load(scores.add(place)), most);
            let power = math::exp::<S>(S::mul(apart, scale));
            S::store(scores.add(place), power);
            sum = S::add(sum, power);
        }
        S::sum(sum)
    }
}
