//! Outputs that are tensors of libtorch.

use super::device_pooling::pool_tensor;
use super::{BatchOutput, Outputs, Want};
use crate::archive::OutputInfo;
use crate::batch::{Batch, Unpadded};
use crate::embedding::{pool_rows, pooled_tokens};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{collect, try_collect};
use tch::{Kind, Tensor};

impl Outputs {
    /// Tensors of libtorch, as [`Self::named`].
    pub(super) fn of_tensors(tensors: Vec<Tensor>, names: &[OutputInfo]) -> Result<Self> {
        let tensors = tensors.into_iter().map(crate::tensor::Tensor::try_from);
        Self::named(tensors.collect::<Result<_>>()?, names)
    }
}

/// What is wanted of outputs that are tensors `[T,..]` or `[N,..]` of a batch.
pub(super) fn wanted_of_tensors(
    outputs: &[Tensor],
    batch: &Batch,
    want: &Want<'_>,
) -> Result<Vec<BatchOutput>> {
    let output = |index: usize| {
        outputs.get(index).ok_or_else(|| {
            let message = format!("found {} outputs, expected more than {index}", outputs.len());
            Error::new(ErrorKind::Archive, message)
        })
    };
    Ok(match want {
        Want::Outputs(wanted) => {
            try_collect(wanted.iter().map(|index| on_device(output(*index)?.shallow_clone())))?
        }
        Want::Tokens { output: index, tokens } => {
            let tensor = output(*index)?;
            let tokens = collect(tokens.iter().map(|token| *token as i64))?;
            let tokens = Tensor::f_from_slice(&tokens)?.f_to_device(tensor.device())?;
            vec![on_device(tensor.f_index_select(0, &tokens)?)?]
        }
        Want::Pooled { output: index, modes, skipped } => {
            let hidden = output(*index)?;
            let tokens = pooled_tokens(batch.ranges(), modes, skipped)?;
            vec![if hidden.device() == tch::Device::Cpu {
                let hidden = on_device(hidden.shallow_clone())?.into_matrix()?;
                BatchOutput::Host(pool_rows(&hidden, &tokens, modes, skipped)?)
            } else {
                let pooled = pool_tensor(hidden, &tokens, modes, skipped)?;
                // Into pinned memory, after what was launched.
                let non_blocking = true;
                let on_host =
                    pooled.f_internal_to_copy((Kind::Float, tch::Device::Cpu), non_blocking)?;
                on_device(on_host)?
            }]
        }
    })
}

fn on_device(tensor: Tensor) -> Result<BatchOutput> {
    Ok(BatchOutput::Tensor(tensor.try_into()?))
}

/// Rows of tokens as those of padded inputs `[B*S,..]`, zero where a token is masked.
pub(super) fn padded_tensor(rows: &Tensor, unpadded: &Unpadded) -> Result<Tensor> {
    let total = unpadded.shape.iter().product::<usize>() as i64;
    let tokens = unpadded.indices.iter().enumerate();
    let kept = collect(tokens.filter_map(|(token, index)| Some((token as i64, (*index)? as i64))))?;
    if kept.len() as i64 == total {
        return Ok(rows.shallow_clone());
    }
    let column = |of: fn(&(i64, i64)) -> i64| -> Result<Tensor> {
        let values = collect(kept.iter().map(of))?;
        Ok(Tensor::f_from_slice(&values)?.f_to_device(rows.device())?)
    };
    let mut shape = rows.size();
    shape[0] = total;
    let padded = Tensor::f_zeros(&shape, (rows.f_kind()?, rows.device()))?;
    let rows = match kept.len() == unpadded.indices.len() {
        true => rows.shallow_clone(),
        false => rows.f_index_select(0, &column(|(token, _)| *token)?)?,
    };
    Ok(padded.f_index_copy(0, &column(|(_, index)| *index)?, &rows)?)
}
