//! A cursor over named tensors, as a model's `load` sees them.
//!
//! Model code asks for each parameter by its name and shape and never hears of
//! files, prefixes or ties. What it asked for is recorded: the list becomes the
//! parameters of the TorchScript module, and what is left over is reported.

mod init;
#[cfg(feature = "torch")]
mod torch;

pub(crate) use init::{Init, RandomInit};
#[cfg(feature = "torch")]
pub(crate) use torch::TorchWeights;

use crate::checkpoint::{Entry, StateDict};
use crate::device::Dtype;
use crate::error::{Error, ErrorKind, Result};
use crate::family::model::Tie;
use crate::tensor::{ElementType, Tensor};
use crate::untie::TieWeights;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The tensors of a checkpoint under a name prefix.
#[derive(Clone)]
pub(crate) struct Weights {
    store: Rc<RefCell<Store>>,
    prefix: String,
}

struct Store {
    state: StateDict,
    dtype: Dtype,
    random: Option<RandomInit>,
    /// Pairs of which one gets the other's values where both are initialised.
    ties: (Vec<Tie>, TieWeights),
    asked: usize,
    initialized: Vec<(String, Tensor)>,
    missing: Vec<String>,
    /// Tensors that were cast, by the storage they came from, so that those who
    /// share one still do.
    cast: BTreeMap<(usize, Vec<usize>), Tensor>,
    /// Whether weights must be finite.
    is_checked: bool,
}

/// What a model took from its weights.
pub(crate) struct Loaded {
    /// Those that were not in the checkpoint and got random or constant values.
    pub(crate) initialized: Vec<String>,
    /// Names in the checkpoint that the model did not ask for.
    pub(crate) unexpected: Vec<String>,
}

impl Weights {
    /// Tensors are cast to `dtype` as they are taken; those missing are
    /// initialised by `random`, or refused by [`Self::finish`] without it.
    pub(crate) fn new(state: StateDict, dtype: Dtype, random: Option<RandomInit>) -> Self {
        let store = Store {
            state,
            dtype,
            random,
            ties: (Vec::new(), TieWeights::Untie),
            asked: 0,
            initialized: Vec::new(),
            missing: Vec::new(),
            cast: BTreeMap::new(),
            is_checked: false,
        };
        Self { store: Rc::new(RefCell::new(store)), prefix: String::new() }
    }

    /// Refuses weights that are not finite, also after the cast.
    pub(crate) fn checked(self) -> Self {
        self.store.borrow_mut().is_checked = true;
        self
    }

    /// Of a pair that is initialised, one gets the other's values, as transformers ties after
    /// initialising.
    pub(crate) fn tied(self, pairs: Vec<Tie>, ties: TieWeights) -> Self {
        self.store.borrow_mut().ties = (pairs, ties);
        self
    }

    /// The cursor one level deeper.
    pub(crate) fn sub(&self, name: impl std::fmt::Display) -> Self {
        Self { store: Rc::clone(&self.store), prefix: format!("{}{name}.", self.prefix) }
    }

    /// The cursor under a prefix, which ends with a dot or is empty.
    pub(crate) fn sub_prefix(&self, prefix: &str) -> Self {
        Self { store: Rc::clone(&self.store), prefix: format!("{}{prefix}", self.prefix) }
    }

    /// The dtype that tensors are cast to.
    pub(crate) fn dtype(&self) -> Dtype {
        self.store.borrow().dtype
    }

    /// Takes a parameter of this shape.
    ///
    /// # Errors
    /// [`ErrorKind::MissingParameter`] if it is not there; those of [`Self::find`].
    pub(crate) fn get(&self, name: &str, shape: &[i64], init: Init) -> Result<Tensor> {
        self.find(name, shape, init)?.ok_or_else(|| {
            let message = "the parameter is missing";
            Error::new(ErrorKind::MissingParameter, message).at(self.path(name))
        })
    }

    /// Takes a parameter of this shape; none if it is missing, which [`Self::finish`] says
    /// of all at once.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`]; [`ErrorKind::Checkpoint`] for one of integers, or one
    /// that is not finite.
    pub(crate) fn find(&self, name: &str, shape: &[i64], init: Init) -> Result<Option<Tensor>> {
        let path = self.path(name);
        let store = &mut *self.store.borrow_mut();
        store.asked += 1;
        if let Some(entry) = store.state.remove(&path) {
            return store.take(&path, entry, shape).map(Some);
        }
        if store.random.is_none() {
            store.missing.push(path);
            return Ok(None);
        }
        store.initialize(path, shape, init)
    }

    /// The name of a parameter in the model.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// How many parameters the model asked for, which of them were missing, and
    /// what was left over.
    pub(crate) fn survey(&self) -> (usize, Vec<String>, Vec<String>) {
        let store = self.store.borrow();
        let unexpected = store.state.names().map(str::to_owned).collect();
        (store.asked, store.missing.clone(), unexpected)
    }

    /// Ends loading.
    ///
    /// # Errors
    /// [`ErrorKind::MissingParameter`] with every name that was not found.
    pub(crate) fn finish(self) -> Result<Loaded> {
        let store = &mut *self.store.borrow_mut();
        if !store.missing.is_empty() {
            return Err(Error::new(
                ErrorKind::MissingParameter,
                format!(
                    "the checkpoint lacks {} of the model's {} parameters: {}",
                    store.missing.len(),
                    store.asked,
                    abbreviate(&store.missing)
                ),
            ));
        }
        Ok(Loaded {
            initialized: store.initialized.drain(..).map(|(name, _)| name).collect(),
            unexpected: store.state.names().map(str::to_owned).collect(),
        })
    }
}

impl Store {
    fn take(&mut self, path: &str, entry: Entry, shape: &[i64]) -> Result<Tensor> {
        let Entry { tensor, file } = &entry;
        let found = tensor.shape();
        let is_same = found.len() == shape.len()
            && found
                .iter()
                .zip(shape)
                .all(|(found, expected)| i64::try_from(*found) == Ok(*expected));
        if !is_same {
            let message = format!("expected shape {shape:?}, found {found:?} in {file}");
            return Err(Error::new(ErrorKind::ShapeMismatch, message).at(path));
        }
        let element_type = tensor.element_type();
        if !is_floating(element_type) {
            let message =
                format!("expected a floating-point tensor, found {element_type} in {file}");
            return Err(Error::new(ErrorKind::Checkpoint, message).at(path));
        }
        let cast = self.cast(tensor)?;
        if self.is_checked {
            check_finite(&entry, &cast).map_err(|error| error.at(path))?;
        }
        Ok(cast)
    }

    fn cast(&mut self, tensor: &Tensor) -> Result<Tensor> {
        let place = tensor.address().filter(|_| tensor.element_type() != self.dtype.element_type());
        let Some(address) = place else { return tensor.to_dtype(self.dtype) };
        let place = (address, tensor.shape().to_vec());
        if let Some(cast) = self.cast.get(&place) {
            return Ok(cast.clone());
        }
        let cast = tensor.to_dtype(self.dtype)?;
        self.cast.insert(place, cast.clone());
        Ok(cast)
    }

    fn initialize(&mut self, path: String, shape: &[i64], init: Init) -> Result<Option<Tensor>> {
        let Some(random) = &self.random else { return Ok(None) };
        let (pairs, ties) = &self.ties;
        let other = pairs.iter().find_map(|pair| match () {
            () if pair.target == path => Some(&pair.source),
            () if pair.source == path => Some(&pair.target),
            () => None,
        });
        let other = self.initialized.iter().find(|(name, _)| Some(name) == other);
        let tensor = match (other, ties) {
            (Some((_, other)), TieWeights::Keep) => other.clone(),
            (Some((_, other)), TieWeights::Untie) => other.deep_copy()?,
            (None, _) => random.tensor(&path, shape, init)?.to_dtype(self.dtype)?,
        };
        self.initialized.push((path, tensor.clone()));
        Ok(Some(tensor))
    }
}

/// Whether weights may be of this type.
pub(crate) fn is_floating(element_type: ElementType) -> bool {
    use ElementType::{BF16, F16, F32, F64};
    matches!(element_type, F32 | F16 | BF16 | F64)
}

/// Refuses a weight that is no number, or that the cast made infinite.
fn check_finite(entry: &Entry, cast: &Tensor) -> Result<()> {
    if cast.is_finite()? {
        return Ok(());
    }
    let (largest, dtype) = (largest(&entry.tensor)?, cast.element_type());
    let file = &entry.file;
    Err(match largest.is_finite() {
        true => {
            let message = format!("found {largest:e} in {file}, which is more than {dtype} holds");
            Error::new(ErrorKind::Unsupported, message)
        }
        false => {
            let found = if largest.is_nan() { "NaN" } else { "an infinite value" };
            let message = format!("found {found} in {file}, expected finite weights");
            Error::new(ErrorKind::Checkpoint, message)
        }
    })
}

/// The value of the largest magnitude; NaN if there is one.
fn largest(tensor: &Tensor) -> Result<f64> {
    let values = tensor.map_elements(|value| value)?.into_iter();
    Ok(values.fold(0., |largest: f64, value| {
        let keeps = largest.is_nan() || value.abs() <= largest.abs();
        if keeps { largest } else { value }
    }))
}

/// The first names, and how many more there are.
fn abbreviate(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
