//! A bias of attention scores for the distance of two tokens.

use crate::error::Result;
use crate::family::spec::{Buckets, Encoder, RelativePositions};
use crate::memory::{elements, with_capacity};
use crate::weights::{Init, Weights};
use tch::Kind;

/// A number for each head and distance.
#[derive(Debug)]
pub(super) struct RelativeBias {
    /// `[heads, 2 max_distance + 1]`
    table: Vec<f32>,
    max_distance: usize,
}

impl RelativeBias {
    /// That of an encoder, if it has one.
    pub(super) fn load(w: &Weights, encoder: &Encoder) -> Result<Option<Self>> {
        match &encoder.relative_positions {
            RelativePositions::None => Ok(None),
            RelativePositions::Buckets(buckets) => {
                Self::of_buckets(w, buckets, encoder.num_heads).map(Some)
            }
        }
    }

    fn of_buckets(w: &Weights, buckets: &Buckets, num_heads: i64) -> Result<Self> {
        let shape = [buckets.num_buckets, num_heads];
        let weight = w.sub(&buckets.name).get("weight", &shape, Init::Zeros)?;
        let weight = elements::<f32>(&weight.f_to_kind(Kind::Float)?)?;
        // The last bucket begins there, if there is more than one.
        let farthest = buckets.starts().last().copied().unwrap_or(buckets.exact());
        let mut table = with_capacity(num_heads as usize * (2 * farthest as usize + 1))?;
        for head in 0..num_heads {
            let numbers = (-farthest..=farthest)
                .map(|distance| weight[(buckets.of(distance) * num_heads + head) as usize]);
            table.extend(numbers);
        }
        Ok(Self { table, max_distance: farthest as usize })
    }

    /// What kernels take.
    pub(super) fn of_scores(&self) -> bertscript_kernels::RelativeBias<'_> {
        let Self { table, max_distance } = self;
        bertscript_kernels::RelativeBias { table, max_distance: *max_distance }
    }
}
