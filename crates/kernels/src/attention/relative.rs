//! Attention that depends on how far tokens are from one another.

use super::Sequences;
use crate::simd::Simd;
use std::ops::Range;

/// A number for each head and distance, which is added to scaled scores; Raffel et al. 2020,
/// <https://arxiv.org/abs/1910.10683>.
#[derive(Debug, Clone, Copy)]
pub struct RelativeBias<'a> {
    /// Of keys that are `-max_distance` to `max_distance` after the query,
    /// `[heads, 2 max_distance + 1]`; those farther away have the outermost numbers.
    pub table: &'a [f32],
    /// The distance from which on the numbers are the same.
    pub max_distance: usize,
}

impl<'a> Sequences<'a> {
    /// See [`super::attention`].
    pub(super) fn check_positions(&self, is_disentangled: bool) {
        let Self { cu_seqlens, positions, num_heads, .. } = *self;
        if let Some(RelativeBias { table, max_distance }) = self.bias {
            assert_eq!(table.len(), num_heads * (2 * max_distance + 1), "numbers of all distances");
        }
        if !self.is_relative() && !is_disentangled {
            return;
        }
        assert_eq!(Some(&positions.len()), cu_seqlens.last(), "a position for each token");
        let is_ascending = |range: &[usize]| {
            positions[range[0]..range[1]].windows(2).all(|pair| pair[0] < pair[1])
        };
        assert!(cu_seqlens.windows(2).all(is_ascending), "positions that ascend");
        // Scratch memory is as large as distances are.
        let is_near = |position: Option<&i64>| position.is_none_or(|it| (0..1 << 31).contains(it));
        let has_near_ends = |range: &[usize]| {
            let own = &positions[range[0]..range[1]];
            is_near(own.first()) && is_near(own.last())
        };
        assert!(cu_seqlens.windows(2).all(has_near_ends), "positions below 2^31");
    }

    fn is_relative(&self) -> bool {
        self.bias.is_some() || self.window.is_some()
    }

    /// The greatest distance of two tokens of one sequence; 0 where positions are not known.
    pub(super) fn greatest_distance(&self) -> usize {
        let ranges = self.cu_seqlens.windows(2).map(|pair| pair[0]..pair[1]);
        ranges.map(|range| self.positions.get(range).map_or(0, distance)).max().unwrap_or(0)
    }

    /// What the distances in a sequence mean to a head.
    pub(super) fn relative(&self, tokens: Range<usize>, head: usize, scale: f32) -> Relative<'a> {
        let positions = if self.is_relative() { self.positions } else { &[] };
        let bias = self.bias.map(|RelativeBias { table, max_distance }| {
            let width = 2 * max_distance + 1;
            (&table[head * width..(head + 1) * width], scale.recip())
        });
        let distance = positions.get(tokens.clone()).map_or(0, distance);
        Relative { positions, bias, window: self.window, distance, tokens: tokens.len() }
    }
}

/// From the first to the last of ascending positions.
fn distance(positions: &[i64]) -> usize {
    match positions {
        [first, .., last] => (last - first) as usize,
        _ => 0,
    }
}

/// What distances mean to a head in a sequence.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Relative<'a> {
    /// Of all tokens
    positions: &'a [i64],
    /// Of this head, and the factor by which scores are not scaled yet
    bias: Option<(&'a [f32], f32)>,
    window: Option<usize>,
    /// The greatest one
    distance: usize,
    /// Their number
    tokens: usize,
}

/// Columns of scores: some keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visible<'a> {
    /// Counted from the first key
    pub(super) first: usize,
    pub(super) end: usize,
    /// The tokens that are keys
    pub(super) of: &'a Range<usize>,
}

impl Relative<'_> {
    /// Writes what is added to scores that are not scaled yet, of every distance.
    pub(super) fn prepare(&self, bias: &mut [f32]) {
        let Some((table, factor)) = self.bias else { return };
        let (middle, most) = (table.len() / 2, self.distance);
        for (index, value) in bias.iter_mut().enumerate().take(2 * most + 1) {
            // Of a key that is `index - most` after the query.
            let index = (index + middle).saturating_sub(most).min(table.len() - 1);
            *value = table[index] * factor;
        }
    }

    /// The keys that some of the queries see, counted from the first.
    pub(super) fn visible(&self, queries: Range<usize>, keys: &Range<usize>) -> Range<usize> {
        if self.window.is_none() || queries.is_empty() {
            return 0..keys.len();
        }
        let (first, last) =
            (self.seen_by(queries.start, keys), self.seen_by(queries.end - 1, keys));
        first.start..last.end
    }

    /// The keys within the window, counted from the first.
    fn seen_by(&self, query: usize, keys: &Range<usize>) -> Range<usize> {
        let Some(window) = self.window else { return 0..keys.len() };
        let (of_keys, own) = (&self.positions[keys.clone()], self.positions[query]);
        let window = window as i64;
        let start = of_keys.partition_point(|position| *position < own - window);
        let end = of_keys.partition_point(|position| *position <= own + window);
        start..end
    }

    /// Adds the bias to a query's scores, and takes away those outside of the window; whether
    /// there are any others.
    ///
    /// # Safety
    /// There are scores of these keys, and room for a whole vector.
    #[inline(always)]
    pub(super) unsafe fn apply<S: Simd>(
        &self,
        s: S,
        query: usize,
        keys: Visible<'_>,
        scores: *mut f32,
        bias: &[f32],
    ) -> bool {
        let count = keys.end - keys.first;
        if count == 0 {
            return false;
        }
        // SAFETY: the caller's promise; what is added is laid out for every distance.
        unsafe {
            if self.bias.is_some() {
                let own = self.positions[query];
                let of_keys = &self.positions[keys.of.start + keys.first..][..count];
                let index = |position: i64| (position - own + self.distance as i64) as usize;
                if self.distance + 1 == self.tokens {
                    let values = &bias[index(of_keys[0])..][..count.next_multiple_of(S::LANES)];
                    for place in (0..count).step_by(S::LANES) {
                        let score = s.load(scores.add(place));
                        let sum = s.add(score, s.load(values.as_ptr().add(place)));
                        s.store(scores.add(place), sum);
                    }
                } else {
                    for (place, position) in of_keys.iter().enumerate() {
                        *scores.add(place) += bias[index(*position)];
                    }
                }
            }
            if self.window.is_none() {
                return true;
            }
            let seen = self.seen_by(query, keys.of);
            let outside = (keys.first..seen.start).chain(seen.end..keys.end);
            outside.for_each(|key| *scores.add(key - keys.first) = f32::NEG_INFINITY);
            !seen.is_empty()
        }
    }
}
