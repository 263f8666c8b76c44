//! One head of one sequence.

use super::disentangled::{self, OfHead};
use super::panels::{lay_out_keys, lay_out_values};
#[cfg(target_arch = "x86_64")]
use super::products::InTiles;
use super::products::{InVectors, Products, TILE_DEPTH};
use super::relative::{Relative, Visible};
#[cfg(target_arch = "x86_64")]
use crate::amx;
use crate::element::Element;
use crate::isa::{Isa, Kernel};
use crate::math;
use crate::matrix::{Line, Rows, RowsMut};
use crate::memory::{OutOfMemory, filled, zeros};
use crate::simd::Simd;
use crate::tile::{MAX_MR, MAX_NR, Next, Product, height, width};
use std::f32::consts::LOG2_E;
use std::marker::PhantomData;
use std::ops::Range;

/// Memory that a thread uses for one head after another.
pub(super) struct Scratch {
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
    /// For each distance, what is added to a score.
    bias: Vec<f32>,
    pub(super) disentangled: Option<disentangled::Scratch>,
}

impl Scratch {
    pub(super) fn new(
        longest: usize,
        head_dim: usize,
        distance: Option<usize>,
    ) -> Result<Self, OutOfMemory> {
        // As wide as the widest panels and types, whatever is used.
        let keys = longest.next_multiple_of(MAX_NR);
        let columns = head_dim.next_multiple_of(MAX_NR);
        Ok(Self {
            keys: zeros(4 * keys * head_dim)?,
            values: zeros(4 * columns * keys)?,
            scores: zeros(4 * MAX_MR * keys)?,
            powers: zeros(4 * MAX_MR * keys)?,
            sums: zeros(4 * MAX_MR * MAX_NR)?,
            // In both directions, and the rest of a vector.
            bias: filled(distance.map_or(0, |distance| 2 * distance + 1 + MAX_NR), 0.)?,
            disentangled: None,
        })
    }
}

/// One head of one sequence.
pub(super) struct Head<'a, E> {
    pub(super) isa: Isa,
    pub(super) qkv: Rows<'a, E>,
    pub(super) out: &'a RowsMut<'a, E>,
    pub(super) queries: Range<usize>,
    pub(super) keys: Range<usize>,
    pub(super) column: usize,
    pub(super) head_dim: usize,
    pub(super) scale: f32,
    pub(super) relative: Relative<'a>,
    pub(super) disentangled: Option<OfHead<'a, E>>,
    pub(super) scratch: &'a mut Scratch,
}

impl<E: Element> Kernel for Head<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller's promise; there are tiles.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if self.isa == Isa::Amx && E::DEPTH == 2 && self.head_dim.is_multiple_of(TILE_DEPTH) {
                let rows = height(self.queries.len(), amx::ROWS);
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
        let Self { qkv, out, queries, column, head_dim, scale, relative, disentangled, .. } = self;
        let length = self.keys.len();
        if length == 0 {
            for row in queries {
                for dim in 0..head_dim {
                    // SAFETY: the row is of the sequence, the column of the head.
                    unsafe { out.at(row, column + dim).write(E::from_f32(0.)) };
                }
            }
            return;
        }
        let hidden_size = qkv.width / 3;
        let keys: *mut E = self.scratch.keys.as_mut_ptr().cast();
        let values: *mut E = self.scratch.values.as_mut_ptr().cast();
        let scores: *mut f32 = self.scratch.scores.as_mut_ptr().cast();
        let powers: *mut E = self.scratch.powers.as_mut_ptr().cast();
        let sums: *mut f32 = self.scratch.sums.as_mut_ptr().cast();
        relative.lay_out(&mut self.scratch.bias);
        let score_stride = length.next_multiple_of(width::<S>());
        let depth = length.next_multiple_of(P::DEPTH);
        // SAFETY: the scratch memory holds panels of the longest text; rows and
        // columns are of the matrices.
        unsafe {
            let key = qkv.start.add(self.keys.start * qkv.stride + hidden_size + column);
            lay_out_keys::<S, E>(|index| key.add(index * qkv.stride), length, head_dim, keys);
            let value = qkv.start.add(self.keys.start * qkv.stride + 2 * hidden_size + column);
            lay_out_values::<S, E>(value, qkv.stride, (length, depth), head_dim, values);
            let mut distances = disentangled.as_ref().zip(self.scratch.disentangled.as_mut());
            if let Some((of_head, scratch)) = &mut distances {
                of_head.begin::<S, P>(&mut by, qkv, scratch);
            }
            let height = height(queries.len(), P::MR);
            for start in queries.clone().step_by(height) {
                // Twice the same gives twice the same.
                let start = if P::ALL { start.min(queries.end - height) } else { start };
                let rows = height.min(queries.end - start);
                let left = qkv.start.add(start * qkv.stride + column);
                // Whole panels, of which somebody sees a key.
                let visible = relative.visible(start..start + rows, &self.keys);
                let first = visible.start / width::<S>() * width::<S>();
                let end = visible.end.next_multiple_of(width::<S>()).min(length);
                let panels = first / width::<S>()..end.div_ceil(width::<S>());
                for panel in panels {
                    let product = Product {
                        left,
                        stride: qkv.stride,
                        panel: keys.add(panel * width::<S>() * head_dim).cast_const(),
                        depth: head_dim,
                        onto: false,
                        next: Next::nothing(),
                    };
                    // Half of the last panel is enough for few keys.
                    let half = end - panel * width::<S>() <= S::LANES;
                    let to = scores.add(panel * width::<S>());
                    by.multiply(rows, half, product, to, score_stride);
                }
                let first_product = distances.as_mut().map(|(of_head, scratch)| {
                    let (tile, left) = (start..start + rows, (left, qkv.stride));
                    of_head.multiply_queries::<S, P>(&mut by, tile, left, scratch)
                });
                let mut inv_sums = [0.; MAX_MR];
                let depth_of_tile = (end - first).next_multiple_of(P::DEPTH);
                for (row, inv_sum) in inv_sums.iter_mut().enumerate().take(rows) {
                    let (from, to) = (row * score_stride + first, row * score_stride + first);
                    let (scores, powers) = (scores.add(from), powers.add(to));
                    let columns = (end - first, depth_of_tile);
                    if let (Some((of_head, scratch)), Some(first)) = (&distances, first_product) {
                        of_head.add::<S>(start + row, row, first, scores, scratch);
                    }
                    let keys = Visible { first, end, of: &self.keys };
                    if relative.apply::<S>(start + row, keys, scores, &self.scratch.bias) {
                        *inv_sum = softmax::<S, E>(scores, powers, columns, scale).recip();
                    } else {
                        // Nobody: a sum of zeros.
                        powers.write_bytes(0, depth_of_tile);
                    }
                }
                for (panel, dim) in (0..head_dim).step_by(width::<S>()).enumerate() {
                    let product = Product {
                        left: powers.add(first).cast_const(),
                        stride: score_stride,
                        panel: values.add((panel * depth + first) * width::<S>()).cast_const(),
                        depth: depth_of_tile,
                        onto: false,
                        next: Next::nothing(),
                    };
                    by.multiply(rows, head_dim - dim <= S::LANES, product, sums, width::<S>());
                    for (row, inv_sum) in inv_sums.into_iter().enumerate().take(rows) {
                        for half in 0..2 {
                            let dim = dim + half * S::LANES;
                            if dim < head_dim {
                                let count = S::LANES.min(head_dim - dim);
                                let sum = S::load(sums.add(row * width::<S>() + half * S::LANES));
                                let place = out.at(start + row, column + dim);
                                E::store::<S>(place, count, S::mul(sum, S::splat(inv_sum)));
                            }
                        }
                    }
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
