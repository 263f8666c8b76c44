//! A cursor over named tensors, as a model's `load` sees them.
//!
//! Model code asks for each parameter by its name and shape and never hears of
//! files, prefixes or ties. What it asked for is recorded: the list becomes the
//! parameters of the TorchScript module, and what is left over is reported.

mod init;

pub(crate) use init::{Init, RandomInit};

use crate::checkpoint::{Entry, StateDict};
use crate::device::Dtype;
use crate::error::{Error, ErrorKind, Result};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use tch::Tensor;
use torchscript::dtype_name;

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
    parameters: Vec<(String, Tensor)>,
    initialized: Vec<String>,
    missing: Vec<String>,
    /// Tensors that were cast, by the storage they came from, so that those who
    /// share one still do.
    cast: BTreeMap<usize, Tensor>,
    /// Whether weights must be finite.
    is_checked: bool,
}

/// What a model took from its weights.
pub(crate) struct Loaded {
    /// Every parameter, in the order the model asked for them.
    pub(crate) parameters: Vec<(String, Tensor)>,
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
            parameters: Vec::new(),
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
    pub(crate) fn get(&self, name: &str, shape: &[i64], init: Init) -> Result<Tensor> {
        let path = format!("{}{name}", self.prefix);
        let store = &mut *self.store.borrow_mut();
        let tensor = if let Some(entry) = store.state.remove(&path) {
            let found = entry.tensor.size();
            if found != shape {
                let message =
                    format!("expected shape {shape:?}, found {found:?} in {}", entry.file);
                return Err(Error::new(ErrorKind::ShapeMismatch, message).at(path));
            }
            let kind = entry.tensor.kind();
            if !kind_is_floating(kind) {
                let message = format!(
                    "expected a floating-point tensor, found {} in {}",
                    dtype_name(kind),
                    entry.file
                );
                return Err(Error::new(ErrorKind::Checkpoint, message).at(path));
            }
            let cast = store.cast(&entry.tensor)?;
            if store.is_checked {
                check_finite(&entry, &cast).map_err(|error| error.at(&path))?;
            }
            cast
        } else if let Some(random) = &store.random {
            store.initialized.push(path.clone());
            random.tensor(&path, shape, init)?.f_to_kind(store.dtype.kind())?
        } else {
            // An undefined tensor stands in, so that `finish` can name all that
            // is missing at once. The model is never handed out.
            store.missing.push(path.clone());
            Tensor::new()
        };
        store.parameters.push((path, tensor.shallow_clone()));
        Ok(tensor)
    }

    /// How many parameters the model asked for, which of them were missing, and
    /// what was left over.
    pub(crate) fn survey(&self) -> (usize, Vec<String>, Vec<String>) {
        let store = self.store.borrow();
        let unexpected = store.state.names().map(str::to_owned).collect();
        (store.parameters.len(), store.missing.clone(), unexpected)
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
                    store.parameters.len(),
                    abbreviate(&store.missing)
                ),
            ));
        }
        Ok(Loaded {
            parameters: std::mem::take(&mut store.parameters),
            initialized: std::mem::take(&mut store.initialized),
            unexpected: store.state.names().map(str::to_owned).collect(),
        })
    }
}

impl Store {
    fn cast(&mut self, tensor: &Tensor) -> Result<Tensor> {
        if tensor.kind() == self.dtype.kind() {
            return Ok(tensor.shallow_clone());
        }
        let storage = tensor.data_ptr() as usize;
        if let Some(cast) = self.cast.get(&storage) {
            return Ok(cast.f_detach()?);
        }
        let cast = tensor.f_to_kind(self.dtype.kind())?;
        self.cast.insert(storage, cast.shallow_clone());
        Ok(cast)
    }
}

fn kind_is_floating(kind: tch::Kind) -> bool {
    matches!(kind, tch::Kind::Float | tch::Kind::Half | tch::Kind::BFloat16 | tch::Kind::Double)
}

/// Refuses a weight that is no number, or that the cast made infinite.
fn check_finite(entry: &Entry, cast: &Tensor) -> Result<()> {
    if largest(cast)?.is_finite() {
        return Ok(());
    }
    let (largest, dtype) = (largest(&entry.tensor)?, dtype_name(cast.kind()));
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
    if tensor.numel() == 0 {
        return Ok(0.);
    }
    let (min, max) = tensor.f_aminmax(None, false)?;
    let (min, max) = (min.f_double_value(&[])?, max.f_double_value(&[])?);
    // Where there is a NaN, both are.
    Ok(if max.abs() > min.abs() { max } else { min })
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
