//! How attention scores depend on the distance of two tokens.

use super::spec::LayerNorm;

/// How the scores of every layer depend on the distance of two tokens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RelativePositions {
    /// Nothing
    None,
    /// A number for each head and range of distances, added to scaled scores. Raffel et al.
    /// 2020, <https://arxiv.org/abs/1910.10683>
    Buckets(Buckets),
    /// Products of queries and keys with vectors for distances, added to their own: He et al.
    /// 2021, <https://arxiv.org/abs/2006.03654>
    Disentangled(Disentangled),
}

/// Ranges of distances, which are wider the farther away they are; the same number of them for
/// keys before the query, itself among them, and after it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Buckets {
    /// The embedding, `[num_buckets,num_heads]`
    pub(crate) name: String,
    pub(crate) num_buckets: i64,
    /// Beyond it, distances are not told apart
    pub(crate) max_distance: i64,
}

impl Buckets {
    /// Those of one direction.
    pub(crate) fn of_direction(&self) -> i64 {
        self.num_buckets / 2
    }

    /// Distances below it have a bucket each.
    pub(crate) fn exact(&self) -> i64 {
        self.of_direction() / 2
    }

    /// The least distances of the buckets that follow that of [`Self::exact`].
    pub(crate) fn starts(&self) -> Vec<i64> {
        let exact = self.exact() as f64;
        let range = (self.max_distance as f64 / exact).ln();
        let bucket = |distance: i64| {
            let share = (distance as f64 / exact).ln() / range;
            (share * (self.of_direction() as f64 - exact)) as i64
        };
        let starts = self.exact() + 1..self.max_distance;
        starts.filter(|distance| bucket(*distance) > bucket(distance - 1)).collect()
    }

    /// The bucket of a key that is so many positions after its query.
    pub(crate) fn of(&self, distance: i64) -> i64 {
        let away = distance.abs();
        let beyond = self.starts().iter().filter(|start| away >= **start).count() as i64;
        let after = if distance > 0 { self.of_direction() } else { 0 };
        away.min(self.exact()) + beyond + after
    }
}

/// The vectors of distances, which each layer projects as it does hidden states.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Disentangled {
    /// The embedding, `[2 span,H]`
    pub(crate) name: String,
    pub(crate) norm: Option<LayerNorm>,
    /// Half the rows: as many for queries before their keys as for those after
    pub(crate) span: i64,
    /// From `span / 2` on, distances share rows, the more the farther away; `span - 1` is the
    /// row of the last one below this
    pub(crate) max_distance: i64,
}

impl Disentangled {
    pub(crate) fn num_rows(&self) -> i64 {
        2 * self.span
    }

    /// Distances up to it have a row each.
    pub(crate) fn exact(&self) -> i64 {
        self.span / 2
    }

    /// The row of a query that is so many positions after its key.
    pub(crate) fn row(&self, distance: i64) -> i64 {
        let (away, exact) = (distance.abs(), self.exact());
        let bucket = if away <= exact {
            distance
        } else {
            // In float32, as upstream computes it: `make_log_bucket_position`.
            let log = |distance: i64| (distance as f32 / exact as f32).ln();
            let share = log(away) / log(self.max_distance - 1);
            let beyond = (share * (exact - 1) as f32).ceil() as i64;
            distance.signum() * (beyond + exact)
        };
        (bucket + self.span).clamp(0, self.num_rows() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_t5() {
        let buckets = Buckets { name: String::new(), num_buckets: 32, max_distance: 128 };
        assert_eq!(buckets.starts(), [12, 16, 23, 32, 46, 64, 91]);
        let found = [-200, -91, -90, -8, -7, -1, 0, 1, 7, 8, 11, 12, 90, 91, 128, 5000]
            .map(|distance| buckets.of(distance));
        assert_eq!(found, [15, 15, 14, 8, 7, 1, 0, 17, 23, 24, 24, 25, 30, 31, 31, 31]);
    }

    #[test]
    fn rows_of_distances_are_those_of_deberta() {
        let distances = |span, max_distance| Disentangled {
            name: String::new(),
            norm: None,
            span,
            max_distance,
        };
        // `make_log_bucket_position(distance, 256, 512) + 256` of transformers 5.23.
        let found = [-511, -510, -300, -129, -128, -1, 0, 1, 127, 128, 129, 130, 300, 510, 511]
            .map(|distance| distances(256, 512).row(distance));
        assert_eq!(found, [1, 1, 49, 127, 128, 255, 256, 257, 383, 384, 385, 386, 463, 511, 511]);
        // Beyond the last row.
        assert_eq!([-9000, 9000].map(|distance| distances(32, 64).row(distance)), [0, 63]);
    }
}
