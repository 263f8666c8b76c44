//! Weights as tensors of libtorch.

use super::{Init, Loaded, Weights};
use crate::device::Dtype;
use crate::error::Result;
use crate::tensor::Tensor;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// [`Weights`], of which each is taken as a tensor of libtorch. Those whose elements are the
/// same memory share a storage there, too.
#[derive(Clone)]
pub(crate) struct TorchWeights {
    weights: Weights,
    taken: Rc<RefCell<Taken>>,
}

#[derive(Default)]
struct Taken {
    /// In the order the model asked for them.
    parameters: Vec<(String, tch::Tensor)>,
    by_place: BTreeMap<(usize, Vec<usize>), tch::Tensor>,
}

impl TorchWeights {
    pub(crate) fn new(weights: Weights) -> Self {
        Self { weights, taken: Rc::default() }
    }

    /// See [`Weights::dtype`].
    pub(crate) fn dtype(&self) -> Dtype {
        self.weights.dtype()
    }

    /// See [`Weights::sub`].
    pub(crate) fn sub(&self, name: impl std::fmt::Display) -> Self {
        Self { weights: self.weights.sub(name), taken: Rc::clone(&self.taken) }
    }

    /// See [`Weights::sub_prefix`].
    pub(crate) fn sub_prefix(&self, prefix: &str) -> Self {
        Self { weights: self.weights.sub_prefix(prefix), taken: Rc::clone(&self.taken) }
    }

    /// See [`Weights::find`]. An undefined tensor stands in for one that is missing: the
    /// model is never handed out.
    pub(crate) fn get(&self, name: &str, shape: &[i64], init: Init) -> Result<tch::Tensor> {
        let found = self.weights.find(name, shape, init)?;
        let taken = &mut *self.taken.borrow_mut();
        let tensor = found.map_or_else(|| Ok(tch::Tensor::new()), |found| taken.take(&found))?;
        taken.parameters.push((self.weights.path(name), tensor.shallow_clone()));
        Ok(tensor)
    }

    /// See [`Weights::finish`]; and every parameter, in the order the model asked for them.
    pub(crate) fn finish(self) -> Result<(Vec<(String, tch::Tensor)>, Loaded)> {
        let loaded = self.weights.finish()?;
        Ok((std::mem::take(&mut self.taken.borrow_mut().parameters), loaded))
    }
}

impl Taken {
    fn take(&mut self, found: &Tensor) -> Result<tch::Tensor> {
        let Some(address) = found.address() else { return found.try_into() };
        let place = (address, found.shape().to_vec());
        if let Some(known) = self.by_place.get(&place) {
            // A tensor of its own, for the tracer; on the same storage.
            return Ok(known.f_detach()?);
        }
        let tensor = tch::Tensor::try_from(found)?;
        self.by_place.insert(place, tensor.shallow_clone());
        Ok(tensor)
    }
}
