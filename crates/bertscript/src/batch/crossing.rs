//! Batches that cross the boundary of a library, as tensors.

use super::Batch;
use crate::error::Result;
use crate::memory::collect;
use crate::tensor::Tensor;
use bertscript_kernels::Keys;

/// What the tokens of a sequence attend to, in the order of their numbers.
const KEYS: [Keys; 4] = [Keys::All, Keys::AllButFirst, Keys::None, Keys::Uniform];

impl Batch {
    /// Its tensors: for tokens ids, types, positions, columns and masks, for sequences ends and
    /// keys.
    #[cfg(not(feature = "torch"))]
    pub(crate) fn to_tensors(&self) -> Result<[Tensor; 7]> {
        use crate::memory::copied;

        let tokens = |values: &[i64]| Tensor::new(copied(values)?, [values.len()]);
        let ends = collect(self.cu_seqlens.iter().map(|end| *end as i64))?;
        let number = |keys: &Keys| KEYS.iter().position(|known| known == keys).unwrap_or(0) as u8;
        let keys = collect(self.keys.iter().map(number))?;
        Ok([
            tokens(&self.input_ids)?,
            tokens(&self.token_type_ids)?,
            tokens(&self.position_ids)?,
            tokens(&self.columns)?,
            Tensor::new(copied(&self.masked)?, [self.masked.len()])?,
            Tensor::new(ends, [self.cu_seqlens.len()])?,
            Tensor::new(keys, [self.keys.len()])?,
        ])
    }

    /// A batch of tensors of `to_tensors`.
    #[cfg(feature = "torch")]
    pub(crate) fn from_tensors(tensors: Vec<Tensor>) -> Result<Self> {
        use crate::error::{Error, ErrorKind};

        let invalid = |message: String| Error::new(ErrorKind::InvalidInput, message).at("batch");
        let tensors: [Tensor; 7] = tensors.try_into().map_err(|found: Vec<_>| {
            invalid(format!("found {} tensors, expected 7", found.len()))
        })?;
        let [ids, types, positions, columns, masked, ends, keys] = tensors;
        let key = |number: &u8| KEYS.get(usize::from(*number)).copied().unwrap_or_default();
        let batch = Self {
            input_ids: ids.to_i64s()?,
            token_type_ids: types.to_i64s()?,
            position_ids: positions.to_i64s()?,
            columns: columns.to_i64s()?,
            cu_seqlens: ends.to_usizes()?,
            keys: collect(keys.as_slice::<u8>()?.iter().map(key))?,
            masked: crate::memory::copied(masked.as_slice::<bool>()?)?,
        };
        let tokens = batch.input_ids.len();
        let per_token = [&batch.token_type_ids, &batch.position_ids, &batch.columns];
        let fits = per_token.iter().all(|values| values.len() == tokens)
            && [0, tokens].contains(&batch.masked.len())
            && batch.cu_seqlens.len() == batch.keys.len() + 1
            && batch.cu_seqlens.is_sorted()
            && batch.cu_seqlens.last() == Some(&tokens);
        match fits {
            true => Ok(batch),
            false => Err(invalid("found tensors whose sizes differ".to_owned())),
        }
    }
}
