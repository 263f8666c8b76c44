//! Attention whose scores are disentangled: He et al. 2021, <https://arxiv.org/abs/2006.03654>.

use super::head::Kernel;
use super::prepack::prepack_keys;
use crate::element::Element;
use crate::matrix::Rows;
use crate::memory::{Line, OutOfMemory, filled, zeros};
use crate::microkernel::{MAX_MR, MAX_NR, Prefetch, TileCall, tile_rows};
use crate::simd::Simd;
use std::ops::Range;

/// Products that are added to those of queries and keys: of queries with the keys of distances,
/// and of keys with the queries of distances.
#[derive(Debug, Clone, Copy)]
pub struct Disentangled<'a, E> {
    /// Query and key of distances, side by side: `[R,2H]`
    pub vectors: Rows<'a, E>,
    /// For a query that is `-max_distance` to `max_distance` positions after its key, the row of
    /// those, `[2 max_distance + 1]`; those farther away have the outermost.
    pub rows: &'a [usize],
    /// Whether each token is masked, `[T]`; empty if none is. Tokens attend to those that are not
    /// masked, and masked ones to all alike.
    pub masked: &'a [bool],
}

/// One head of it.
pub(super) struct OfHead<'a, E> {
    pub(super) of: Disentangled<'a, E>,
    pub(super) head: usize,
    pub(super) head_dim: usize,
    /// Of all tokens
    pub(super) positions: &'a [i64],
    /// Those of the sequence
    pub(super) tokens: Range<usize>,
    /// The greatest distance in any sequence
    pub(super) distance: usize,
}

/// Memory that a thread uses for one head after another.
pub(super) struct Scratch {
    /// Panels of the keys of distances, the first of which is the farthest before a query
    keys: Vec<Line>,
    /// The same of queries
    queries: Vec<Line>,
    /// The head whose panels those are
    head: Option<usize>,
    /// For each row of a tile, its products with distances
    products: Vec<f32>,
    stride: usize,
    /// For each query, the products of all keys with queries of distances
    of_keys: Vec<f32>,
}

impl Scratch {
    pub(super) fn new(
        longest: usize,
        distance: usize,
        head_dim: usize,
    ) -> Result<Self, OutOfMemory> {
        let distances = 2 * distance + 1;
        let panels = 4 * distances.next_multiple_of(MAX_NR) * head_dim;
        // A panel more at either end.
        let stride = distances + 2 * MAX_NR;
        Ok(Self {
            keys: zeros(panels)?,
            queries: zeros(panels)?,
            head: None,
            products: filled(MAX_MR * stride, 0.)?,
            stride,
            of_keys: filled(longest * longest.next_multiple_of(MAX_NR), 0.)?,
        })
    }
}

/// Columns of products with distances.
struct Columns {
    /// The first panel
    first: usize,
    end: usize,
}

impl<E: Element> OfHead<'_, E> {
    /// What scores are multiplied with: they have the variance of three products.
    pub(super) fn scale(&self) -> f32 {
        (3. * self.head_dim as f32).sqrt().recip()
    }

    /// Prepacks the vectors of all distances, if those of another head are there, and multiplies
    /// the sequence's keys with queries of distances.
    ///
    /// # Safety
    /// The instruction set of `S` is available; the tokens are rows of `qkv`.
    #[inline(always)]
    pub(super) unsafe fn begin<M: Kernel<E>>(
        &self,
        s: M::Simd,
        microkernel: &mut M,
        qkv: Rows<'_, E>,
        scratch: &mut Scratch,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            if scratch.head != Some(self.head) {
                self.prepack(s, scratch);
                scratch.head = Some(self.head);
            }
            let (tokens, first) = (self.tokens.clone(), self.tokens.start);
            let key = qkv.start.add(qkv.width / 3 + self.head * self.head_dim);
            let height = tile_rows(tokens.len(), M::MR);
            for start in tokens.clone().step_by(height) {
                let start =
                    if M::OVERLAPS_EPILOGUE { start.min(tokens.end - height) } else { start };
                let keys = start..(start + height).min(tokens.end);
                let left = key.add(start * qkv.stride);
                let panels: *const E = scratch.queries.as_ptr().cast();
                let columns =
                    self.multiply(microkernel, keys.clone(), (left, qkv.stride), panels, scratch);
                let to = scratch.of_keys.as_mut_ptr().add(start - first);
                self.transpose(keys, columns.first * M::NR, scratch, to);
            }
        }
    }

    /// Multiplies queries with keys of distances.
    ///
    /// # Safety
    /// As of [`Self::begin`]; the queries are `left`, no more of them than a tile has rows.
    #[inline(always)]
    pub(super) unsafe fn multiply_queries<M: Kernel<E>>(
        &self,
        microkernel: &mut M,
        queries: Range<usize>,
        left: (*const E, usize),
        scratch: &mut Scratch,
    ) -> usize {
        let panels: *const E = scratch.keys.as_ptr().cast();
        // SAFETY: the caller's promise.
        let columns = unsafe { self.multiply(microkernel, queries, left, panels, scratch) };
        columns.first * M::NR
    }

    /// Adds what [`Self::begin`] and [`Self::multiply_queries`] computed to the scores of a row of
    /// the tile. `first` is what the latter returned.
    ///
    /// # Safety
    /// There are scores of all tokens, and room for a whole vector.
    #[inline(always)]
    pub(super) unsafe fn add<S: Simd>(
        &self,
        s: S,
        query: usize,
        row: usize,
        first: usize,
        scores: *mut f32,
        scratch: &Scratch,
    ) {
        let (positions, count) = (&self.positions[self.tokens.clone()], self.tokens.len());
        let own = self.positions[query];
        // Counted from the first product.
        let column = |position: i64| (position - own + self.distance as i64) as usize - first;
        // SAFETY: the caller's promise; products are there for every distance.
        unsafe {
            let of_query = scratch.products.as_ptr().add(row * scratch.stride);
            let of_keys = scratch.of_keys.as_ptr();
            let of_keys = of_keys.add((query - self.tokens.start) * self.stride());
            if self.is_dense() {
                let of_query = of_query.add(column(positions[0]));
                for place in (0..count).step_by(S::LANES) {
                    let of_both = s.add(s.load(of_query.add(place)), s.load(of_keys.add(place)));
                    let score = s.load(scores.add(place));
                    s.store(scores.add(place), s.add(score, of_both));
                }
            } else {
                for (place, position) in positions.iter().enumerate() {
                    *scores.add(place) += *of_query.add(column(*position)) + *of_keys.add(place);
                }
            }
            let Some(masked) = self.of.masked.get(self.tokens.clone()) else { return };
            if masked[query - self.tokens.start] {
                scores.write_bytes(0, count);
                return;
            }
            for (place, _) in masked.iter().enumerate().filter(|(_, is_masked)| **is_masked) {
                *scores.add(place) = f32::NEG_INFINITY;
            }
        }
    }

    /// From the products of one query with keys to those of the next.
    fn stride(&self) -> usize {
        self.tokens.len().next_multiple_of(MAX_NR)
    }

    /// Whether tokens beside one another follow one another.
    fn is_dense(&self) -> bool {
        let positions = &self.positions[self.tokens.clone()];
        positions[positions.len() - 1] - positions[0] + 1 == positions.len() as i64
    }

    /// Panels of all distances: of keys, of which the farthest before a query are the first, and
    /// of queries likewise.
    #[inline(always)]
    unsafe fn prepack<S: Simd>(&self, s: S, scratch: &mut Scratch) {
        let Disentangled { vectors, rows, .. } = self.of;
        let (middle, last) = (rows.len() as i64 / 2, rows.len() as i64 - 1);
        let of_distance = |column: usize, distance: i64| {
            let row = rows[(distance + middle).clamp(0, last) as usize];
            // SAFETY: the row and the columns of a head are of the matrix.
            unsafe { vectors.at(row, column + self.head * self.head_dim) }
        };
        let (count, distance) = (2 * self.distance + 1, self.distance as i64);
        let query = |index: usize| of_distance(0, index as i64 - distance);
        // Columns of keys ascend with their position, and the distance of the query falls.
        let key = |index: usize| of_distance(vectors.width / 2, distance - index as i64);
        // SAFETY: there is memory for panels of all distances.
        unsafe {
            let queries = scratch.queries.as_mut_ptr().cast();
            prepack_keys(s, query, count, self.head_dim, queries);
            prepack_keys(s, key, count, self.head_dim, scratch.keys.as_mut_ptr().cast());
        }
    }

    /// The products of some tokens with those distances that they have to any token.
    #[inline(always)]
    unsafe fn multiply<M: Kernel<E>>(
        &self,
        microkernel: &mut M,
        own: Range<usize>,
        (left, stride): (*const E, usize),
        panels: *const E,
        scratch: &mut Scratch,
    ) -> Columns {
        let position = |token: usize| self.positions[token];
        let index = |distance: i64| (distance + self.distance as i64) as usize;
        let least = index(position(self.tokens.start) - position(own.end - 1));
        let greatest = index(position(self.tokens.end - 1) - position(own.start));
        let columns = Columns { first: least / M::NR, end: greatest / M::NR + 1 };
        for panel in columns.first..columns.end {
            // SAFETY: the caller's promise; the panel is of a distance that there is.
            unsafe {
                let call = TileCall {
                    rows: own.len(),
                    a: left,
                    lda: stride,
                    b: panels.add(panel * M::NR * self.head_dim),
                    k: self.head_dim,
                    accumulate: false,
                    ldc: scratch.stride,
                    prefetch: Prefetch::nothing(),
                };
                let to = scratch.products.as_mut_ptr().add((panel - columns.first) * M::NR);
                microkernel.run(&mut (), call, to, || ());
            }
        }
        columns
    }

    /// Products of some keys, a row each, become columns of those of queries.
    #[inline(always)]
    unsafe fn transpose(&self, keys: Range<usize>, first: usize, scratch: &Scratch, to: *mut f32) {
        let positions = &self.positions[self.tokens.clone()];
        let (count, stride) = (positions.len(), self.stride());
        // Counted from the first product.
        let column = |query: i64, key: usize| {
            (query - self.positions[keys.start + key] + self.distance as i64) as usize - first
        };
        let row = |key: usize| scratch.products.as_ptr().wrapping_add(key * scratch.stride);
        let is_dense = self.is_dense();
        let (whole_keys, whole) =
            if is_dense { (keys.len() / 4 * 4, count / 4 * 4) } else { (0, 0) };
        // SAFETY: products are there for every distance, and places for every query and key.
        unsafe {
            for key in (0..whole_keys).step_by(4) {
                let rows: [_; 4] =
                    [0, 1, 2, 3].map(|i| row(key + i).add(column(positions[0], key + i)));
                for query in (0..whole).step_by(4) {
                    let rows: [[f32; 4]; 4] =
                        rows.map(|row| row.add(query).cast::<[f32; 4]>().read_unaligned());
                    let columns: [[f32; 4]; 4] = std::array::from_fn(|i| rows.map(|row| row[i]));
                    for (i, column) in columns.into_iter().enumerate() {
                        let to = to.add((query + i) * stride + key);
                        to.cast::<[f32; 4]>().write_unaligned(column);
                    }
                }
            }
            for key in 0..keys.len() {
                let done = if key < whole_keys { whole } else { 0 };
                for (query, position) in positions.iter().enumerate().skip(done) {
                    *to.add(query * stride + key) = *row(key).add(column(*position, key));
                }
            }
        }
    }
}
