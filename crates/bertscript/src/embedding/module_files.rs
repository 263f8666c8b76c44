//! The files of a sentence-transformers module, read as strictly as its constructor
//! takes them.
//!
//! Source: `Module`, <https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/base/modules/module.py>

use crate::assets::Assets;
use crate::checkpoint::{ModuleEntry, safetensors_from_bytes};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::copied;
use crate::tensor::Tensor;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The arguments of a module's constructor, from its `config.json`.
pub(super) struct Arguments {
    file: String,
    values: Map<String, Value>,
}

impl Arguments {
    /// Without the file there are none.
    pub(super) fn read(module: &ModuleEntry, assets: &Assets) -> Result<Self> {
        let file = module.file("config.json");
        Ok(Self { values: assets.json(&file)?.unwrap_or_default(), file })
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// Refuses arguments that the constructor does not have.
    pub(super) fn expect_only(&self, known: &[&str]) -> Result<()> {
        match self.values.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => {
                Err(self.invalid(key, &format!("unknown, expected one of {}", known.join(", "))))
            }
            None => Ok(()),
        }
    }

    /// A truth value; null is false, as in Python.
    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.found(key, "true or false")),
        }
    }

    /// A width, which must be given.
    pub(super) fn width(&self, key: &str) -> Result<i64> {
        let width = self.get(key).and_then(Value::as_i64).filter(|width| *width > 0);
        width.ok_or_else(|| self.found(key, "a number of at least 1"))
    }

    /// A string, if it is given.
    pub(super) fn string(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(value)) => Ok(Some(value)),
            Some(_) => Err(self.found(key, "a string")),
        }
    }

    /// The error of an argument of another form.
    pub(super) fn found(&self, key: &str, expected: &str) -> Error {
        let found = self.get(key).map_or("none".to_owned(), Value::to_string);
        self.invalid(key, &format!("found {found}, expected {expected}"))
    }

    pub(super) fn invalid(&self, key: &str, message: &str) -> Error {
        self.place(Error::new(ErrorKind::Config, format!("{key}: {message}")))
    }

    /// An error in this file.
    pub(super) fn place(&self, error: Error) -> Error {
        error.at(&self.file)
    }
}

/// The weights of a module.
pub(super) struct ModuleWeights {
    file: String,
    tensors: BTreeMap<String, Tensor>,
}

impl ModuleWeights {
    pub(super) fn read(module: &ModuleEntry, assets: &Assets) -> Result<Self> {
        let file = module.file("model.safetensors");
        let contents = assets.get(&file).ok_or_else(|| {
            let message = format!("the weights of {} are missing", module.class());
            Error::new(ErrorKind::Config, message).at(&file)
        })?;
        let tensors = safetensors_from_bytes(contents).map_err(|error| error.at(&file))?;
        Ok(Self { tensors: tensors.into_iter().collect(), file })
    }

    /// The values of a tensor, which must have this shape.
    pub(super) fn take(&mut self, name: &str, shape: &[i64]) -> Result<Vec<f32>> {
        let tensor = self.tensors.remove(name);
        let tensor = tensor.ok_or_else(|| self.invalid(format!("the tensor {name} is missing")))?;
        let found: Vec<_> = tensor.shape().iter().map(|size| *size as i64).collect();
        if found != shape {
            return Err(self.invalid(format!("{name}: found shape {found:?}, expected {shape:?}")));
        }
        Ok(copied(tensor.to_f32()?.as_slice::<f32>()?)?)
    }

    /// Refuses tensors that were not taken.
    pub(super) fn finish(self) -> Result<()> {
        match self.tensors.keys().next() {
            Some(name) => {
                Err(self.invalid(format!("found the tensor {name}, which config.json excludes")))
            }
            None => Ok(()),
        }
    }

    fn invalid(&self, message: String) -> Error {
        Error::new(ErrorKind::Config, message).at(&self.file)
    }
}
