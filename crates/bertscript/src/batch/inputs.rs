//! What a model is asked, and whether it can be.

use super::{Batch, out_of_bounds};
use crate::archive::Metadata;
use crate::device::Device;
use crate::error::{Error, ErrorKind, Result};
use crate::family::spec::{MaskedTokens, Positions};
use crate::memory::{collect, filled, with_capacity};
use crate::tensor::{ElementType, Tensor};
use crate::text::check_padded;
use bertscript_kernels::Keys;

/// The inputs of a run, by name; the order of arguments cannot be mistaken.
///
/// All are `[B,S]`, batch by sequence; of multiple choice `[B,C,S]`.
#[derive(Debug)]
pub struct Inputs {
    input_ids: Tensor,
    attention_mask: Option<Tensor>,
    token_type_ids: Option<Tensor>,
}

/// Inputs that keep to the bounds of a model.
pub(crate) struct CheckedInputs<'a> {
    inputs: &'a Inputs,
    /// The same on the CPU.
    on_host: Inputs,
}

/// Inputs without padding.
pub(crate) struct Unpadded {
    pub(crate) batch: Batch,
    /// The shape of `input_ids`.
    pub(crate) shape: Vec<usize>,
    /// The index of each token of the batch among those of `input_ids`, row-major; none
    /// for a masked token, which has no output of its own.
    pub(crate) indices: Vec<Option<usize>>,
}

impl Inputs {
    /// Token ids `[B,S]` of int64 or int32. Without a mask every token takes
    /// part; without token types all are of type 0.
    pub fn new(input_ids: Tensor) -> Self {
        Self { input_ids, attention_mask: None, token_type_ids: None }
    }

    /// 1 (or true) where a token takes part, 0 where it is padding; int64,
    /// int32 or bool. A row of zeros has a defined result: its tokens attend to
    /// nothing, or to all alike (see [`crate::Attention`]).
    #[must_use]
    pub fn attention_mask(self, attention_mask: Tensor) -> Self {
        Self { attention_mask: Some(attention_mask), ..self }
    }

    /// The segment of each token, int64 or int32.
    #[must_use]
    pub fn token_type_ids(self, token_type_ids: Tensor) -> Self {
        Self { token_type_ids: Some(token_type_ids), ..self }
    }

    /// Rows of different lengths, padded with `pad_token_id` and masked.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if there is no row, or more tokens than memory
    /// should hold.
    pub fn from_rows<R: AsRef<[i64]>>(rows: &[R], pad_token_id: i64) -> Result<Self> {
        let length = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
        check_padded(rows.len(), length)?;
        let mut ids = with_capacity(rows.len() * length)?;
        let mut mask = with_capacity(rows.len() * length)?;
        for row in rows {
            let row = row.as_ref();
            let padding = length - row.len();
            ids.extend_from_slice(row);
            ids.extend(std::iter::repeat_n(pad_token_id, padding));
            mask.extend(std::iter::repeat_n(1, row.len()));
            mask.extend(std::iter::repeat_n(0, padding));
        }
        if ids.is_empty() {
            return Err(invalid("input_ids", "found no tokens, expected at least one".to_owned()));
        }
        let shape = [rows.len(), length];
        Ok(Self::new(Tensor::new(ids, shape)?).attention_mask(Tensor::new(mask, shape)?))
    }

    /// Inputs under their names, as a file has them.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a name that is unknown or given twice, or
    /// without `input_ids`.
    pub fn from_named(tensors: Vec<(String, Tensor)>) -> Result<Self> {
        let (mut input_ids, mut attention_mask, mut token_type_ids) = (None, None, None);
        for (name, tensor) in tensors {
            let slot = match name.as_str() {
                "input_ids" => &mut input_ids,
                "attention_mask" => &mut attention_mask,
                "token_type_ids" => &mut token_type_ids,
                _ => {
                    let expected = "expected input_ids, attention_mask, token_type_ids";
                    return Err(invalid(&name, format!("unknown input, {expected}")));
                }
            };
            if slot.replace(tensor).is_some() {
                return Err(invalid(&name, "the input is given twice".to_owned()));
            }
        }
        let input_ids =
            input_ids.ok_or_else(|| invalid("input_ids", "the input is missing".to_owned()))?;
        Ok(Self { input_ids, attention_mask, token_type_ids })
    }

    /// Every input that is given, by name.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        let all = [
            ("input_ids", Some(&self.input_ids)),
            ("attention_mask", self.attention_mask.as_ref()),
            ("token_type_ids", self.token_type_ids.as_ref()),
        ];
        all.into_iter().filter_map(|(name, tensor)| Some((name, tensor?)))
    }

    /// Checks inputs of an archive before anything runs.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] with the argument's name, what was found and the bound.
    pub(crate) fn checked(&self, metadata: &Metadata) -> Result<CheckedInputs<'_>> {
        let on_host = self.on_host()?;
        on_host.check(metadata)?;
        Ok(CheckedInputs { inputs: self, on_host })
    }

    fn on_host(&self) -> Result<Self> {
        let on_host = |tensor: &Tensor| tensor.to_device(Device::Cpu);
        Ok(Self {
            input_ids: on_host(&self.input_ids)?,
            attention_mask: self.attention_mask.as_ref().map(on_host).transpose()?,
            token_type_ids: self.token_type_ids.as_ref().map(on_host).transpose()?,
        })
    }

    /// Refuses what would fail or, worse, poison a device inside libtorch. The inputs
    /// are on the CPU.
    fn check(&self, metadata: &Metadata) -> Result<()> {
        let limits = &metadata.limits;
        let symbols = metadata.inputs.first().map_or(&[][..], |input| &input.shape[..]);
        let shape = self.input_ids.shape();
        check_type("input_ids", &self.input_ids, &[ElementType::I64, ElementType::I32])?;
        if shape.len() != symbols.len() {
            let expected = format!("{} dimensions, [{}]", symbols.len(), symbols.join(", "));
            return Err(invalid(
                "input_ids",
                format!("found shape {shape:?}, expected {expected}"),
            ));
        }
        if let Some((length, rows)) = shape.split_last() {
            if rows.contains(&0) {
                return Err(invalid("input_ids", format!("found an empty batch, shape {shape:?}")));
            }
            let max = limits.max_position_embeddings;
            if !(1..=max).contains(&(*length as i64)) {
                let message = format!("found sequence length {length}, expected 1 to {max}");
                return Err(invalid("input_ids", message));
            }
        }
        if !metadata.shapes.holds(shape) {
            let traced = &metadata.shapes;
            let message =
                format!("found shape {shape:?}, which fits none of the traced shapes {traced}");
            return Err(invalid("input_ids", message));
        }
        check_values("input_ids", &self.input_ids, limits.vocab_size)?;
        if let Some(mask) = &self.attention_mask {
            let types = [ElementType::I64, ElementType::I32, ElementType::Bool];
            check_type("attention_mask", mask, &types)?;
            check_shape("attention_mask", mask, shape)?;
            check_values("attention_mask", mask, 2)?;
        }
        if let Some(types) = &self.token_type_ids {
            check_type("token_type_ids", types, &[ElementType::I64, ElementType::I32])?;
            check_shape("token_type_ids", types, shape)?;
            check_values("token_type_ids", types, limits.type_vocab_size)?;
        }
        Ok(())
    }
}

impl CheckedInputs<'_> {
    /// As they were given, on whatever device.
    pub(crate) fn given(&self) -> &Inputs {
        self.inputs
    }

    /// The tokens that the mask keeps, and the first token of each row, whose hidden state
    /// the pooler reads: masked, it is a query and no key. A row of zeros attends to
    /// `keys_of_empty_rows`. Where masked tokens attend to all alike, a row whose first token is
    /// masked keeps all.
    pub(crate) fn unpad(
        &self,
        keys_of_empty_rows: Keys,
        positions: Positions,
        masked_tokens: MaskedTokens,
    ) -> Result<Unpadded> {
        let inputs = &self.on_host;
        let shape = inputs.input_ids.shape();
        let length = shape.last().copied().unwrap_or(0).max(1);
        let ids = inputs.input_ids.to_i64s()?;
        let types = match &inputs.token_type_ids {
            Some(types) => types.to_i64s()?,
            None => filled(ids.len(), 0)?,
        };
        let mask = match &inputs.attention_mask {
            Some(mask) => mask.to_i64s()?,
            None => filled(ids.len(), 1)?,
        };
        let mut batch = Batch::with_capacity(ids.len() / length, ids.len())?;
        let mut indices = with_capacity(ids.len())?;
        for (row, mask) in mask.chunks(length).enumerate() {
            let is_empty = mask.iter().all(|value| *value == 0);
            let is_whole = masked_tokens == MaskedTokens::Blank && mask[0] == 0;
            let keys = match (mask[0] != 0 || is_whole, is_empty) {
                (true, _) => Keys::All,
                (false, false) => Keys::AllButFirst,
                (false, true) => keys_of_empty_rows,
            };
            let is_kept = |column: usize| {
                let is_whole = is_whole || (is_empty && keys == Keys::Uniform);
                column == 0 || mask[column] != 0 || is_whole
            };
            for column in (0..length).filter(|column| is_kept(*column)) {
                let index = row * length + column;
                batch.input_ids.push(ids[index]);
                batch.token_type_ids.push(types[index]);
                indices.push((mask[column] != 0).then_some(index));
            }
            // Of all tokens of the row, masked ones too.
            let row_ids = &ids[row * length..(row + 1) * length];
            let position_ids = positions.of(row_ids).enumerate();
            let kept = position_ids.filter(|(column, _)| is_kept(*column));
            batch.end_sequence(kept, keys);
        }
        if masked_tokens == MaskedTokens::Blank && indices.contains(&None) {
            batch.masked = collect(indices.iter().map(Option::is_none))?;
        }
        Ok(Unpadded { batch, shape: shape.to_vec(), indices })
    }
}

fn check_type(name: &str, tensor: &Tensor, allowed: &[ElementType]) -> Result<()> {
    let found = tensor.element_type();
    if allowed.contains(&found) {
        return Ok(());
    }
    let allowed: Vec<_> = allowed.iter().map(|allowed| allowed.name()).collect();
    Err(invalid(name, format!("found dtype {found}, expected {}", allowed.join(" or "))))
}

fn check_shape(name: &str, tensor: &Tensor, expected: &[usize]) -> Result<()> {
    let found = tensor.shape();
    if found == expected {
        return Ok(());
    }
    Err(invalid(name, format!("found shape {found:?}, expected that of input_ids, {expected:?}")))
}

/// Every value must be 0 to `count - 1`.
fn check_values(name: &str, tensor: &Tensor, count: i64) -> Result<()> {
    match out_of_bounds(&tensor.to_i64s()?, count) {
        None => Ok(()),
        Some((at, value)) => {
            let (place, max) = (index(at, tensor.shape()), count - 1);
            Err(invalid(name, format!("found {value} at {place:?}, expected 0 to {max}")))
        }
    }
}

/// The index in every dimension of the `at`-th value.
fn index(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut place: Vec<_> = shape
        .iter()
        .rev()
        .map(|size| {
            let here = at % size;
            at /= size;
            here
        })
        .collect();
    place.reverse();
    place
}

fn invalid(argument: &str, message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message).at(argument)
}
