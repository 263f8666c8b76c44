//! The sum of each token's vectors.

use super::linear::{as_bf16, linear, optional_norm, round};
use super::scratch::Scratch;
use crate::batch::Batch;
use crate::error::Result;
use crate::family::spec::{self, Index};
use crate::tensor::{ElementType, Tensor};
use crate::weights::{Init, Weights};
use bertscript_kernels::{Element, Isa, LayerNorm, Linear, Matrix, Team, Then};

/// Embeddings, whose tables are read where they lie.
#[derive(Debug)]
pub(super) struct Embeddings<E> {
    /// In the order of additions
    tables: Vec<(Tensor, Index)>,
    norm: Option<LayerNorm>,
    /// From the width of the tables to that of hidden states
    projection: Option<Linear<E>>,
}

impl<E: Element> Embeddings<E> {
    pub(super) fn load(w: &Weights, encoder: &spec::Encoder, isa: Isa) -> Result<Self> {
        let embeddings = &encoder.embeddings;
        let (width, hidden) = (embeddings.width, encoder.hidden_size);
        let projection = |one: &spec::Linear| linear(isa, w, &[one], width, hidden);
        let tables = embeddings.tables.iter().map(|table| {
            let weight = w.sub(&table.name).get("weight", &[table.rows, width], Init::Normal)?;
            Ok((weight, table.index))
        });
        Ok(Self {
            tables: tables.collect::<Result<_>>()?,
            norm: optional_norm(isa, w, embeddings.norm.as_ref(), width)?,
            projection: embeddings.projection.as_ref().map(projection).transpose()?,
        })
    }

    /// -> `[T,H]`
    pub(super) fn forward(
        &self,
        batch: &Batch,
        scratch: &mut Scratch<E>,
        team: &dyn Team,
    ) -> Result<()> {
        let Scratch { x, copied, .. } = scratch;
        match &self.projection {
            Some(projection) => self.project(projection, batch, scratch, team)?,
            None => {
                self.sum(batch, x)?;
                self.normalize(x, copied, team)?;
            }
        }
        let Scratch { x, copied, .. } = scratch;
        for (token, _) in batch.masked().iter().enumerate().filter(|(_, is_masked)| **is_masked) {
            x.row_mut(token).fill(0.);
            copied.row_mut(token).fill(E::from_f32(0.));
        }
        Ok(())
    }

    fn project(
        &self,
        projection: &Linear<E>,
        batch: &Batch,
        scratch: &mut Scratch<E>,
        team: &dyn Team,
    ) -> Result<()> {
        let Scratch { x, copied, .. } = scratch;
        let mut narrow = Matrix::<f32>::new(projection.inputs());
        let mut rounded = Matrix::<E>::new(projection.inputs());
        narrow.set_rows(x.len())?;
        rounded.set_rows(x.len())?;
        self.sum(batch, &mut narrow)?;
        self.normalize(&mut narrow, &mut rounded, team)?;
        projection.forward(team, rounded.all(), Then::Keep, x.all_mut())?;
        round(x, copied);
        Ok(())
    }

    /// In place, and as inputs of products
    fn normalize(
        &self,
        x: &mut Matrix<f32>,
        copied: &mut Matrix<E>,
        team: &dyn Team,
    ) -> Result<()> {
        match &self.norm {
            Some(norm) => norm.forward(team, x.all_mut(), copied.all_mut())?,
            None => round(x, copied),
        }
        Ok(())
    }

    fn sum(&self, batch: &Batch, x: &mut Matrix<f32>) -> Result<()> {
        for (number, (table, index)) in self.tables.iter().enumerate() {
            let ids = match index {
                Index::Input => Some(batch.input_ids()),
                Index::TokenType => Some(batch.token_type_ids()),
                Index::Position(_) => Some(batch.position_ids()),
                Index::Zero => None,
            };
            let add = number > 0;
            match table.element_type() {
                ElementType::BF16 => look_up(as_bf16(table)?, ids, add, x),
                _ => look_up(table.as_slice::<f32>()?, ids, add, x),
            }
        }
        Ok(())
    }
}

/// The row of each token's id, or the first one without ids, becomes a row of `x`, or is added
/// to it.
fn look_up<W: Element>(table: &[W], ids: Option<&[i64]>, add: bool, x: &mut Matrix<f32>) {
    for token in 0..x.len() {
        let row = x.row_mut(token);
        // A batch is within bounds: ids are below the tables' lengths.
        let start = ids.map_or(0, |ids| ids[token] as usize) * row.len();
        let values = &table[start..start + row.len()];
        match add {
            true => row.iter_mut().zip(values).for_each(|(to, from)| *to += from.to_f32()),
            false => row.iter_mut().zip(values).for_each(|(to, from)| *to = from.to_f32()),
        }
    }
}
