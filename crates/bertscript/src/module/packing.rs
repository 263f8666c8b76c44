//! Between padded tensors and texts one after the other.

#![expect(clippy::disallowed_methods, reason = "works on inputs and results, records no trace")]

use super::{Inputs, Outputs, Plan};
use crate::archive::OutputInfo;
use crate::device::Dtype;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{elements, filled, with_capacity};
use crate::packed::{PackedInputs, PackedOutput};
use tch::{Kind, Tensor};

impl Inputs {
    /// Rows of inputs on the CPU, without their padding; none if some row's mask is not ones and then
    /// zeros, which only the program knows what to make of.
    pub(super) fn pack(&self) -> Result<Option<PackedInputs>> {
        let shape = self.input_ids.size();
        let length = shape.last().map_or(0, |length| *length as usize).max(1);
        let ids = values(&self.input_ids)?;
        let types = self.token_type_ids.as_ref().map(values).transpose()?;
        let Some(mask) = &self.attention_mask else {
            let lengths = filled(ids.len() / length, length)?;
            let token_type_ids = match types {
                Some(types) => types,
                None => filled(ids.len(), 0)?,
            };
            return Ok(Some(PackedInputs { input_ids: ids, token_type_ids, lengths }));
        };
        let mut packed = PackedInputs {
            input_ids: with_capacity(ids.len())?,
            token_type_ids: with_capacity(ids.len())?,
            lengths: with_capacity(ids.len() / length)?,
        };
        for (row, mask) in values(mask)?.chunks(length).enumerate() {
            let tokens = mask.iter().take_while(|value| **value != 0).count();
            if tokens == 0 || mask[tokens..].iter().any(|value| *value != 0) {
                return Ok(None);
            }
            let place = row * length..row * length + tokens;
            packed.input_ids.extend_from_slice(&ids[place.clone()]);
            match &types {
                Some(types) => packed.token_type_ids.extend_from_slice(&types[place]),
                None => packed.token_type_ids.extend(std::iter::repeat_n(0, tokens)),
            }
            packed.lengths.push(tokens);
        }
        Ok(Some(packed))
    }

    /// The shape of `input_ids`.
    pub(super) fn shape(&self) -> Vec<i64> {
        self.input_ids.size()
    }
}

fn values(tensor: &Tensor) -> Result<Vec<i64>> {
    let flat = tensor.f_to_kind(Kind::Int64)?.f_reshape([-1])?;
    elements(&flat)
}

fn checked_numel(sizes: &[i64]) -> Option<usize> {
    let sizes = sizes.iter().map(|size| usize::try_from(*size).ok());
    sizes.into_iter().try_fold(1_usize, |all, size| all.checked_mul(size?))
}

fn check_count(found: usize, names: &[OutputInfo]) -> Result<()> {
    if found == names.len() {
        return Ok(());
    }
    let message = format!("expected {} outputs, found {found}", names.len());
    Err(Error::new(ErrorKind::Archive, message))
}

/// The shape of an output for inputs of a shape.
fn sizes(info: &OutputInfo, shape: &[i64]) -> Result<Vec<i64>> {
    let sizes = info.shape.iter().map(|symbol| match symbol.as_str() {
        "B" => Ok(shape[0]),
        "BC" => Ok(shape.iter().rev().skip(1).product()),
        "C" => Ok(shape[1]),
        "S" => Ok(shape.last().copied().unwrap_or(0)),
        fixed => fixed
            .parse()
            .map_err(|_| Error::new(ErrorKind::Archive, format!("unknown dimension {fixed:?}"))),
    });
    sizes.collect()
}

impl Outputs {
    /// The rows of outputs as tensors for inputs of a shape.
    pub(super) fn rows(outputs: Vec<Tensor>, names: &[OutputInfo], shape: &[i64]) -> Result<Self> {
        check_count(outputs.len(), names)?;
        let tensors = names
            .iter()
            .zip(outputs)
            .map(|(info, rows)| Ok((info.name.clone(), rows.f_reshape(sizes(info, shape)?)?)));
        Ok(Self { tensors: tensors.collect::<Result<_>>()?, plan: Plan::Packed })
    }

    /// The outputs of texts with `lengths` tokens as tensors for inputs of a
    /// shape; zeros where there is padding.
    pub(crate) fn padded(
        outputs: Vec<PackedOutput>,
        names: &[OutputInfo],
        shape: &[i64],
        lengths: &[usize],
        dtype: Dtype,
        plan: Plan,
    ) -> Result<Self> {
        check_count(outputs.len(), names)?;
        let longest = shape.last().map_or(0, |length| *length as usize);
        let tensors = names.iter().zip(outputs).map(|(info, output)| {
            let sizes = sizes(info, shape)?;
            let rows = match &output {
                PackedOutput::Texts(matrix) => matrix.len(),
                PackedOutput::Tokens(_) => lengths.len() * longest,
            };
            let (wanted, found) = (checked_numel(&sizes), rows * output.matrix().width());
            if wanted != Some(found) {
                let message = format!(
                    "the output {} has {found} values, but the shape {sizes:?} in bertscript.json",
                    info.name
                );
                return Err(Error::new(ErrorKind::Archive, message));
            }
            let tensor = torchscript::filled_tensor(&sizes, |values| match &output {
                PackedOutput::Texts(matrix) => {
                    let rows = values.chunks_exact_mut(matrix.width().max(1));
                    rows.enumerate().for_each(|(row, to)| to.copy_from_slice(matrix.row(row)));
                }
                PackedOutput::Tokens(matrix) => {
                    let width = matrix.width().max(1);
                    let texts = values.chunks_exact_mut((longest * width).max(1));
                    let mut token = 0;
                    for (text, length) in texts.zip(lengths) {
                        for row in text.chunks_exact_mut(width).take(*length) {
                            row.copy_from_slice(matrix.row(token));
                            token += 1;
                        }
                    }
                }
            })?;
            let tensor = tensor.f_to_kind(dtype.kind())?;
            Ok((info.name.clone(), tensor))
        });
        Ok(Self { tensors: tensors.collect::<Result<_>>()?, plan })
    }
}
