//! Attention over the sequences of an unpadded batch.

mod disentangled;
mod panels;
mod products;
mod relative;

#[cfg(target_arch = "x86_64")]
use crate::amx;
use crate::element::Element;
use crate::isa::{Isa, Kernel};
use crate::math;
use crate::matrix::{Line, Rows, RowsMut};
use crate::memory::{OutOfMemory, filled, zeros};
use crate::simd::Simd;
use crate::team::{Team, share};
use crate::tile::{MAX_MR, MAX_NR, Next, Product, height, width};
pub use disentangled::Disentangled;
use disentangled::OfHead;
use panels::{lay_out_keys, lay_out_values};
#[cfg(target_arch = "x86_64")]
use products::InTiles;
use products::{InVectors, Products, TILE_DEPTH};
pub use relative::RelativeBias;
use relative::{Relative, Visible};
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
    /// The position of each token in its sequence, ascending, `[T]`; empty if nothing
    /// depends on it.
    pub positions: &'a [i64],
    /// What is added to scores.
    pub bias: Option<RelativeBias<'a>>,
    /// The greatest distance at which one token attends to another, if there is one.
    pub window: Option<usize>,
}

impl<'a> Sequences<'a> {
    /// Sequences whose tokens attend to all others.
    pub fn new(cu_seqlens: &'a [usize], num_heads: usize) -> Self {
        Self { cu_seqlens, keys: &[], num_heads, positions: &[], bias: None, window: None }
    }
}

/// Scaled dot-product attention: query, key and value side by side, `[T,3H]`
/// for sequences of `T` tokens together -> `[T,H]`. Every token attends to the
/// tokens of its own sequence that are [`Keys`], and within the window; the scale is the
/// inverse square root of a head's dimension. A token that attends to nothing has the context
/// zero. Of bfloat16, the attention probabilities are rounded, too.
///
/// # Errors
/// If memory runs out.
///
/// # Panics
/// If the lengths are not those of the rows, the heads do not share the columns,
/// the dimension of a head is odd with bfloat16, bias or window have no positions, or the CPU
/// lacks the instructions.
pub fn attention<E: Element>(
    isa: Isa,
    team: &dyn Team,
    qkv: Rows<'_, E>,
    sequences: Sequences<'_>,
    out: RowsMut<'_, E>,
) -> Result<(), OutOfMemory> {
    attend(isa, team, qkv, (sequences, None), out)
}

/// Attention as [`attention`] has it, to whose scores products with the vectors of distances are
/// added; the scale is the inverse square root of three times a head's dimension.
///
/// # Errors
/// If memory runs out.
///
/// # Panics
/// As of [`attention`], and if there is a bias, a window, or other keys than [`Keys::All`], or if
/// the rows of distances are not those of `disentangled`.
pub fn disentangled_attention<E: Element>(
    isa: Isa,
    team: &dyn Team,
    qkv: Rows<'_, E>,
    sequences: Sequences<'_>,
    disentangled: Disentangled<'_, E>,
    out: RowsMut<'_, E>,
) -> Result<(), OutOfMemory> {
    let Disentangled { vectors, rows, masked } = disentangled;
    assert!(sequences.bias.is_none() && sequences.window.is_none(), "neither bias nor window");
    assert!(sequences.keys.iter().all(|keys| *keys == Keys::All), "keys of each sequence");
    assert!(rows.len() % 2 == 1 && rows.iter().all(|row| *row < vectors.rows), "rows of distances");
    assert_eq!(3 * vectors.width, 2 * qkv.width, "query and key of distances");
    assert!(masked.is_empty() || masked.len() == qkv.rows, "masked tokens");
    attend(isa, team, qkv, (sequences, Some(disentangled)), out)
}

fn attend<E: Element>(
    isa: Isa,
    team: &dyn Team,
    qkv: Rows<'_, E>,
    (sequences, disentangled): (Sequences<'_>, Option<Disentangled<'_, E>>),
    out: RowsMut<'_, E>,
) -> Result<(), OutOfMemory> {
    let Sequences { cu_seqlens, keys, num_heads, .. } = sequences;
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
    sequences.check_positions(disentangled.is_some());
    let lengths = || cu_seqlens.windows(2).map(|pair| pair[1] - pair[0]);
    let work: usize = lengths().map(|length| length * length).sum::<usize>() * out.width;
    let team: &dyn Team = if work < MIN_PARALLEL_WORK { &crate::Solo } else { team };
    let (longest, distance) = (lengths().max().unwrap_or(0), sequences.greatest_distance());
    let scratch = || {
        let of_bias = sequences.bias.map(|_| distance);
        let mut scratch = Scratch::new(longest, head_dim, of_bias)?;
        if disentangled.is_some() {
            scratch.disentangled = Some(disentangled::Scratch::new(longest, distance, head_dim)?);
        }
        Ok(scratch)
    };
    share(team, count * num_heads, scratch, |scratch, index| {
        let (sequence, head) = match disentangled {
            None => (index / num_heads, index % num_heads),
            // What a head lays out serves all sequences.
            Some(_) => (index % count, index / count),
        };
        let (first, end) = (cu_seqlens[sequence], cu_seqlens[sequence + 1]);
        let (queries, mut keys_of) = (first..end, first..end);
        let mut scale = (head_dim as f32).sqrt().recip();
        let mut relative = sequences.relative(queries.clone(), head, scale);
        match keys.get(sequence).copied().unwrap_or_default() {
            Keys::All => {}
            Keys::AllButFirst => keys_of.start = end.min(first + 1),
            Keys::None => keys_of.start = end,
            Keys::Uniform => {
                // Not zero: beyond the last key scores are infinite.
                scale = f32::MIN_POSITIVE;
                relative = Relative::default();
            }
        }
        let column = head * head_dim;
        let disentangled = disentangled.map(|of| OfHead {
            of,
            head,
            head_dim,
            positions: sequences.positions,
            tokens: queries.clone(),
            distance,
        });
        scale = disentangled.as_ref().map_or(scale, OfHead::scale);
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
                relative,
                disentangled,
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
    /// For each distance, what is added to a score.
    bias: Vec<f32>,
    disentangled: Option<disentangled::Scratch>,
}

impl Scratch {
    fn new(longest: usize, head_dim: usize, distance: Option<usize>) -> Result<Self, OutOfMemory> {
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
struct Head<'a, E> {
    isa: Isa,
    qkv: Rows<'a, E>,
    out: &'a RowsMut<'a, E>,
    queries: Range<usize>,
    keys: Range<usize>,
    column: usize,
    head_dim: usize,
    scale: f32,
    relative: Relative<'a>,
    disentangled: Option<OfHead<'a, E>>,
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
