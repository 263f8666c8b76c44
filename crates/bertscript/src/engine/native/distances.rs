//! Relative positions: how the distance of two tokens changes their score.

use super::linear::{optional_norm, round};
use crate::batch::Batch;
use crate::error::Result;
use crate::family::relative_positions::{Buckets, Disentangled, RelativePositions};
use crate::family::spec::Encoder;
use crate::memory::{collect, with_capacity};
use crate::weights::{Init, Weights};
use bertscript_kernels::{Element, Isa, Linear, Matrix, RelativeBias, Solo, Then};

/// The relative positions of an encoder.
#[derive(Debug)]
pub(super) enum Distances {
    Nothing,
    /// A number for each head and distance, `[heads, 2 max_distance + 1]`
    Bias {
        table: Vec<f32>,
        max_distance: usize,
    },
    /// The row of each distance, in what every layer has of them, `[2 max_distance + 1]`
    Disentangled {
        rows: Vec<usize>,
    },
}

/// Vectors of distances, `[R,H]`, which layers project as they are loaded.
pub(super) type Vectors<E> = Matrix<E>;

/// Distance vectors that a layer has projected: query and key side by side, `[R,2H]`
#[derive(Debug)]
pub(super) struct Projected<E>(Matrix<E>);

impl Distances {
    pub(super) fn load<E: Element>(
        w: &Weights,
        encoder: &Encoder,
        isa: Isa,
    ) -> Result<(Self, Option<Vectors<E>>)> {
        match &encoder.relative_positions {
            RelativePositions::None => Ok((Self::Nothing, None)),
            RelativePositions::Buckets(buckets) => {
                Ok((Self::of_buckets(w, buckets, encoder.num_heads)?, None))
            }
            RelativePositions::Disentangled(distances) => {
                let farthest = encoder.max_length - 1;
                let rows = (-farthest..=farthest).map(|distance| distances.row(distance) as usize);
                let vectors = vectors(w, distances, encoder.hidden_size, isa)?;
                Ok((Self::Disentangled { rows: collect(rows)? }, Some(vectors)))
            }
        }
    }

    fn of_buckets(w: &Weights, buckets: &Buckets, num_heads: i64) -> Result<Self> {
        let shape = [buckets.num_buckets, num_heads];
        let weight = w.sub(&buckets.name).get("weight", &shape, Init::Normal)?;
        let weight = weight.to_f32()?;
        let weight = weight.as_slice::<f32>()?;
        // The last bucket begins there, if there is more than one.
        let farthest = buckets.starts().last().copied().unwrap_or(buckets.exact());
        let mut table = with_capacity(num_heads as usize * (2 * farthest as usize + 1))?;
        for head in 0..num_heads {
            let numbers = (-farthest..=farthest)
                .map(|distance| weight[(buckets.of(distance) * num_heads + head) as usize]);
            table.extend(numbers);
        }
        Ok(Self::Bias { table, max_distance: farthest as usize })
    }

    /// The numbers that kernels add.
    pub(super) fn bias(&self) -> Option<RelativeBias<'_>> {
        match self {
            Self::Bias { table, max_distance } => {
                Some(RelativeBias { table, max_distance: *max_distance })
            }
            Self::Nothing | Self::Disentangled { .. } => None,
        }
    }

    /// What the scores of a layer are disentangled by.
    pub(super) fn of_layer<'a, E: Element>(
        &'a self,
        projected: &'a Option<Projected<E>>,
        batch: &'a Batch,
    ) -> Option<bertscript_kernels::Disentangled<'a, E>> {
        match (self, projected) {
            (Self::Disentangled { rows }, Some(Projected(vectors))) => {
                let (vectors, masked) = (vectors.all(), batch.masked());
                Some(bertscript_kernels::Disentangled { vectors, rows, masked })
            }
            _ => None,
        }
    }
}

fn vectors<E: Element>(
    w: &Weights,
    distances: &Disentangled,
    hidden_size: i64,
    isa: Isa,
) -> Result<Vectors<E>> {
    let shape = [distances.num_rows(), hidden_size];
    let weight = w.sub(&distances.name).get("weight", &shape, Init::Normal)?;
    let values = weight.to_f32()?;
    let values = values.as_slice::<f32>()?;
    let (mut vectors, mut rounded) =
        (Matrix::<f32>::new(hidden_size as usize), Matrix::new(hidden_size as usize));
    vectors.set_rows(distances.num_rows() as usize)?;
    rounded.set_rows(vectors.len())?;
    for (row, values) in values.chunks_exact(hidden_size as usize).enumerate() {
        vectors.row_mut(row).copy_from_slice(values);
    }
    match optional_norm(isa, w, distances.norm.as_ref(), hidden_size)? {
        Some(norm) => norm.forward(&Solo, vectors.all_mut(), rounded.all_mut())?,
        None => round(&vectors, &mut rounded),
    }
    Ok(rounded)
}

impl<E: Element> Projected<E> {
    /// Projects the vectors of distances with a layer's query and key projections.
    pub(super) fn new(qkv: &Linear<E>, vectors: &Vectors<E>, hidden_size: usize) -> Result<Self> {
        let mut all = Matrix::<E>::new(3 * hidden_size);
        all.set_rows(vectors.len())?;
        qkv.forward(&Solo, vectors.all(), Then::Keep, all.all_mut())?;
        let mut projected = Matrix::new(2 * hidden_size);
        projected.set_rows(all.len())?;
        for row in 0..all.len() {
            projected.row_mut(row).copy_from_slice(&all.row(row)[..2 * hidden_size]);
        }
        Ok(Self(projected))
    }
}
