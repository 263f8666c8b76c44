//! Attention over the sequences of an unpadded batch.

mod products;

#[cfg(target_arch = "x86_64")]
use crate::amx;
use crate::element::Element;
use crate::isa::{Isa, Kernel};
use crate::math;
use crate::matrix::{Line, Rows, RowsMut};
use crate::memory::{OutOfMemory, zeros};
use crate::simd::Simd;
use crate::team::{Team, share};
use crate::tile::{MAX_MR, MAX_NR, Next, Product, height, width};
#[cfg(target_arch = "x86_64")]
use products::InTiles;
use products::{InVectors, Products, TILE_DEPTH};
use std::f32::consts::LOG2_E;
use std::marker::PhantomData;
use std::ops::Range;

/// Fewer multiplications than this are not worth a second thread.
const MIN_PARALLEL_WORK: usize = 1 << 18;

/// The tokens of a sequence that its tokens attend to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keys {
    /// All of them.
    #[default]
    All,
    /// All but the first: a masked token whose own hidden state is wanted.
    AllButFirst,
    /// None: the context is zero.
    None,
    /// All of them, with the same weight: the softmax of scores that are all masked by
    /// the same number.
    Uniform,
}

/// The sequences of an unpadded batch.
#[derive(Debug, Clone, Copy)]
pub struct Sequences<'a> {
    /// The row of each sequence's first token, and the number of rows, `[N+1]`.
    pub cu_seqlens: &'a [usize],
    /// What the tokens of each sequence attend to, `[N]`; empty if all attend to
    /// [`Keys::All`].
    pub keys: &'a [Keys],
    /// The number of heads.
    pub num_heads: usize,
}

/// Scaled dot-product attention: query, key and value side by side, `[T,3H]`
/// for sequences of `T` tokens together -> `[T,H]`. Every token attends to the
/// tokens of its own sequence that are [`Keys`]; the scale is the inverse square root
/// of a head's dimension. Of bfloat16, the attention probabilities are rounded, too.
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
    sequences: Sequences<'_>,
    out: RowsMut<'_, E>,
) -> Result<(), OutOfMemory> {
    let Sequences { cu_seqlens, keys, num_heads } = sequences;
    let count = cu_seqlens.len().saturating_sub(1);
    let is_ascending = cu_seqlens.windows(2).all(|pair| pair[0] <= pair[1]);
    assert!(isa.is_available() && (E::DEPTH == 1 || isa.multiplies_bf16()), "{isa:?}");
    assert!(cu_seqlens.first() == Some(&0) && is_ascending, "sequences overlap");
    assert_eq!(cu_seqlens.last(), Some(&qkv.rows), "as many tokens as rows");
    assert!(keys.is_empty() || keys.len() == count, "keys of each sequence");
    assert_eq!((qkv.rows, qkv.width), (out.rows, 3 * out.width), "query, key, value and result");
    let heads_fit = num_heads > 0 && out.width.is_multiple_of(num_heads);
    assert!(heads_fit, "{num_heads} heads of {} values", out.width);
    let head_dim = out.width / num_heads;
    assert!(head_dim.is_multiple_of(E::DEPTH), "heads of {head_dim} values");
    let lengths = || cu_seqlens.windows(2).map(|pair| pair[1] - pair[0]);
    let work: usize = lengths().map(|length| length * length).sum::<usize>() * out.width;
    let team: &dyn Team = if work < MIN_PARALLEL_WORK { &crate::Solo } else { team };
    let scratch = || Scratch::new(lengths().max().unwrap_or(0), head_dim);
    share(team, count * num_heads, scratch, |scratch, index| {
        let (sequence, head) = (index / num_heads, index % num_heads);
        let (first, end) = (cu_seqlens[sequence], cu_seqlens[sequence + 1]);
        let (queries, mut keys_of) = (first..end, first..end);
        let mut scale = (head_dim as f32).sqrt().recip();
        match keys.get(sequence).copied().unwrap_or_default() {
            Keys::All => {}
            Keys::AllButFirst => keys_of.start = end.min(first + 1),
            Keys::None => keys_of.start = end,
            // Not zero: beyond the last key scores are infinite.
            Keys::Uniform => scale = f32::MIN_POSITIVE,
        }
        let column = head * head_dim;
        // SAFETY: available; rows and columns are a sequence's and a head's, and no
        // two share a place of the result.
        unsafe {
            let head = Head {
                isa,
                qkv,
                out: &out,
                queries,
                keys: keys_of,
                column,
                head_dim,
                scale,
                scratch,
            };
            isa.run(head);
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

/// One head of one sequence.
struct Head<'a, E> {
    isa: Isa,
    qkv: Rows<'a, E>,
    out: &'a RowsMut<'a, E>,
    queries: Range<usize>,
    keys: Range<usize>,
    column: usize,
    head_dim: usize,
    scale: f32,
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
        let Self { qkv, out, queries, column, head_dim, scale, .. } = self;
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
        let panels = length.div_ceil(width::<S>());
        let score_stride = panels * width::<S>();
        let depth = length.next_multiple_of(P::DEPTH);
        // SAFETY: the scratch memory holds panels of the longest text; rows and
        // columns are of the matrices.
        unsafe {
            let key = qkv.start.add(self.keys.start * qkv.stride + hidden_size + column);
            lay_out_keys::<S, E>(key, qkv.stride, length, head_dim, keys);
            let value = qkv.start.add(self.keys.start * qkv.stride + 2 * hidden_size + column);
            lay_out_values::<S, E>(value, qkv.stride, (length, depth), head_dim, values);
            let height = height(queries.len(), P::MR);
            for start in queries.clone().step_by(height) {
                // Twice the same gives twice the same.
                let start = if P::ALL { start.min(queries.end - height) } else { start };
                let rows = height.min(queries.end - start);
                let left = qkv.start.add(start * qkv.stride + column);
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
                let mut inv_sums = [0.; MAX_MR];
                for (row, inv_sum) in inv_sums.iter_mut().enumerate().take(rows) {
                    let (from, to) = (row * score_stride, row * score_stride);
                    let sum =
                        softmax::<S, E>(scores.add(from), powers.add(to), (length, depth), scale);
                    *inv_sum = sum.recip();
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
