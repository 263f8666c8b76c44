//! One head of one sequence.

use super::disentangled::{self, OfHead};
use super::prepack::{prepack_keys, prepack_values};
use super::relative::{Relative, Visible};
use crate::element::Element;
use crate::math;
use crate::matrix::{Rows, RowsMut};
use crate::memory::{Line, OutOfMemory, filled, zeros};
use crate::microkernel::{MAX_MR, MAX_NR, Microkernel, Prefetch, TileCall, tile_rows};
use crate::simd::{Simd, VectorOp};
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

/// A microkernel for products of rows with rows, both of one type as they are stored.
pub(super) trait Kernel<E>: Microkernel<Input = E, A = E, B = E, Workspace = ()> {}

impl<E, M: Microkernel<Input = E, A = E, B = E, Workspace = ()>> Kernel<E> for M {}

/// One head of one sequence. Constructed where rows and columns are a sequence's and a head's, and no
/// two heads share a place of the result.
pub(super) struct Head<'a, E> {
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

impl<E: Element> Head<'_, E> {
    /// # Safety
    /// The CPU has the instructions of the microkernel; a head's dimension is a multiple of its
    /// `K_STEP`.
    #[inline(never)]
    pub(super) unsafe fn attend<M: Kernel<E>>(self) {
        let simd = M::Simd::new().expect("an instruction set that is available");
        simd.vectorize(Attend::<E, M> { head: self, microkernel: PhantomData });
    }
}

struct Attend<'a, E, M> {
    head: Head<'a, E>,
    microkernel: PhantomData<M>,
}

impl<E: Element, M: Kernel<E>> VectorOp<M::Simd> for Attend<'_, E, M> {
    type Output = ();

    #[inline(always)]
    fn run(self, s: M::Simd) {
        self.head.run::<M>(s);
    }
}

impl<E: Element> Head<'_, E> {
    #[inline(always)]
    fn run<M: Kernel<E>>(self, s: M::Simd) {
        let Self { qkv, out, queries, column, head_dim, scale, relative, disentangled, .. } = self;
        let lanes = <M::Simd as Simd>::LANES;
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
        relative.prepare(&mut self.scratch.bias);
        let score_stride = length.next_multiple_of(M::NR);
        let depth = length.next_multiple_of(M::K_STEP);
        let height = tile_rows(queries.len(), M::MR);
        // SAFETY: the CPU has the instructions; `height` is MR at most.
        let mut microkernel = unsafe { M::new(s, height) };
        // SAFETY: the scratch memory holds panels of the longest text; rows and
        // columns are of the matrices.
        unsafe {
            let key = qkv.start.add(self.keys.start * qkv.stride + hidden_size + column);
            prepack_keys(s, |index| key.add(index * qkv.stride), length, head_dim, keys);
            let value = qkv.start.add(self.keys.start * qkv.stride + 2 * hidden_size + column);
            prepack_values(s, value, qkv.stride, (length, depth), head_dim, values);
            let mut distances = disentangled.as_ref().zip(self.scratch.disentangled.as_mut());
            if let Some((of_head, scratch)) = &mut distances {
                of_head.begin(s, &mut microkernel, qkv, scratch);
            }
            for start in queries.clone().step_by(height) {
                // Overlapping tiles recompute identical values.
                let start =
                    if M::OVERLAPS_EPILOGUE { start.min(queries.end - height) } else { start };
                let rows = height.min(queries.end - start);
                let left = qkv.start.add(start * qkv.stride + column);
                // Whole panels, of which somebody sees a key.
                let visible = relative.visible(start..start + rows, &self.keys);
                let first = visible.start / M::NR * M::NR;
                let end = visible.end.next_multiple_of(M::NR).min(length);
                let panels = first / M::NR..end.div_ceil(M::NR);
                for panel in panels {
                    let call = TileCall {
                        rows,
                        a: left,
                        lda: qkv.stride,
                        b: keys.add(panel * M::NR * head_dim).cast_const(),
                        k: head_dim,
                        accumulate: false,
                        ldc: score_stride,
                        prefetch: Prefetch::nothing(),
                    };
                    // Half of the last panel is enough for few keys.
                    let to = scores.add(panel * M::NR);
                    match end - panel * M::NR <= lanes {
                        true => microkernel.run_half(&mut (), call, to),
                        false => microkernel.run(&mut (), call, to, || ()),
                    }
                }
                let first_product = distances.as_mut().map(|(of_head, scratch)| {
                    let (tile, left) = (start..start + rows, (left, qkv.stride));
                    of_head.multiply_queries(&mut microkernel, tile, left, scratch)
                });
                let mut inv_sums = [0.; MAX_MR];
                let depth_of_tile = (end - first).next_multiple_of(M::K_STEP);
                for (row, inv_sum) in inv_sums.iter_mut().enumerate().take(rows) {
                    let (from, to) = (row * score_stride + first, row * score_stride + first);
                    let (scores, powers) = (scores.add(from), powers.add(to));
                    let columns = (end - first, depth_of_tile);
                    if let (Some((of_head, scratch)), Some(first)) = (&distances, first_product) {
                        of_head.add(s, start + row, row, first, scores, scratch);
                    }
                    let keys = Visible { first, end, of: &self.keys };
                    if relative.apply(s, start + row, keys, scores, &self.scratch.bias) {
                        *inv_sum = softmax(s, scores, powers, columns, scale).recip();
                    } else {
                        // Nobody: a sum of zeros.
                        powers.write_bytes(0, depth_of_tile);
                    }
                }
                for (panel, dim) in (0..head_dim).step_by(M::NR).enumerate() {
                    let call = TileCall {
                        rows,
                        a: powers.add(first).cast_const(),
                        lda: score_stride,
                        b: values.add((panel * depth + first) * M::NR).cast_const(),
                        k: depth_of_tile,
                        accumulate: false,
                        ldc: M::NR,
                        prefetch: Prefetch::nothing(),
                    };
                    match head_dim - dim <= lanes {
                        true => microkernel.run_half(&mut (), call, sums),
                        false => microkernel.run(&mut (), call, sums, || ()),
                    }
                    for (row, inv_sum) in inv_sums.into_iter().enumerate().take(rows) {
                        for half in 0..2 {
                            let dim = dim + half * lanes;
                            if dim < head_dim {
                                let count = lanes.min(head_dim - dim);
                                let sum = s.load(sums.add(row * M::NR + half * lanes));
                                let place = out.at(start + row, column + dim);
                                E::store(s, place, count, s.mul(sum, s.splat(inv_sum)));
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
    s: S,
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
        s.store(end, s.select_prefix(s.load(end), length - last, s.splat(f32::NEG_INFINITY)));
        let mut greatest = s.load(end);
        for place in (0..last).step_by(S::LANES) {
            greatest = s.max(greatest, s.load(scores.add(place)));
        }
        // The greatest itself is exactly 0 apart, however great it is.
        let (most, scale) = (s.splat(s.reduce_max(greatest)), s.splat(scale * LOG2_E));
        let mut sum = s.zero();
        for place in (0..=last).step_by(S::LANES) {
            let apart = s.sub(s.load(scores.add(place)), most);
            let power = math::exp2(s, s.mul(apart, scale));
            E::store(s, powers.add(place), S::LANES, power);
            sum = s.add(sum, power);
        }
        for place in (last + S::LANES..depth).step_by(S::LANES) {
            E::store(s, powers.add(place), S::LANES, s.zero());
        }
        s.reduce_sum(sum)
    }
}
