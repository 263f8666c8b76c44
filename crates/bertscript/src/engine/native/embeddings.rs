//! The sum of each token's vectors.

use super::linear::norm;
use super::scratch::Scratch;
use crate::batch::Batch;
use crate::error::Result;
use crate::family::spec::{self, Index};
use crate::weights::{Init, Weights};
use bertscript_kernels::{Bf16, Element, Isa, LayerNorm, Matrix, Team};
use tch::Kind;
use torchscript::SharedTensor;

/// Embeddings, whose tables are read where they lie.
#[derive(Debug)]
pub(super) struct Embeddings {
    /// In the order of additions
    tables: Vec<(SharedTensor, Index)>,
    norm: LayerNorm,
}

impl Embeddings {
    pub(super) fn load(w: &Weights, encoder: &spec::Encoder, isa: Isa) -> Result<Self> {
        let (embeddings, width) = (&encoder.embeddings, encoder.hidden_size);
        let tables = embeddings.tables.iter().map(|table| {
            let weight = w.sub(&table.name).get("weight", &[table.rows, width], Init::Zeros)?;
            Ok((SharedTensor::new(weight.f_contiguous()?), table.index))
        });
        Ok(Self {
            tables: tables.collect::<Result<_>>()?,
            norm: norm(isa, w, &embeddings.norm, width)?,
        })
    }

    /// -> `[T,H]`
    pub(super) fn forward<E: Element>(
        &self,
        batch: &Batch,
        scratch: &mut Scratch<E>,
        team: &dyn Team,
    ) -> Result<()> {
        for (number, (table, index)) in self.tables.iter().enumerate() {
            let ids = match index {
                Index::Input => Some(batch.input_ids()),
                Index::TokenType => Some(batch.token_type_ids()),
                Index::Position => Some(batch.position_ids()),
                Index::Zero => None,
            };
            let add = number > 0;
            match table.get().f_kind()? {
                Kind::BFloat16 => {
                    look_up(Bf16::from_bits(table.as_bf16()?), ids, add, &mut scratch.x);
                }
                _ => look_up(table.as_f32()?, ids, add, &mut scratch.x),
            }
        }
        self.norm.forward(team, scratch.x.all_mut(), scratch.copied.all_mut())?;
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
