//! The outputs of a module, by name.

use crate::archive::OutputInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Tensor;
use torchscript::Value;

/// The outputs of a run, by name.
#[derive(Debug)]
pub struct Outputs {
    tensors: Vec<(String, Tensor)>,
}

impl Outputs {
    /// Tensors under the names that an archive of this library describes.
    pub(super) fn named(tensors: Vec<Tensor>, names: &[OutputInfo]) -> Result<Self> {
        if tensors.len() != names.len() {
            let message = format!("expected {} outputs, found {}", names.len(), tensors.len());
            return Err(Error::new(ErrorKind::Archive, message));
        }
        let names = names.iter().map(|output| output.name.clone());
        Ok(Self { tensors: names.zip(tensors).collect() })
    }

    /// Tensors of libtorch, as [`Self::named`].
    pub(super) fn of_tensors(tensors: Vec<tch::Tensor>, names: &[OutputInfo]) -> Result<Self> {
        let tensors = tensors.into_iter().map(Tensor::try_from);
        Self::named(tensors.collect::<Result<_>>()?, names)
    }

    /// The value of any other program: a dict has names of its own, of a tuple
    /// or list each item is named by its index, `output.0` and so on. The tensors are
    /// copies, since the program may keep theirs and write to them.
    pub(super) fn numbered(value: Value) -> Result<Self> {
        let mut tensors = Vec::new();
        flatten("output", value, &mut tensors)?;
        Ok(Self { tensors })
    }

    /// The output of this name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] with the names there are.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.tensors.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor).ok_or_else(
            || {
                let names: Vec<_> = self.tensors.iter().map(|(name, _)| name.as_str()).collect();
                let message = format!("no output {name:?}, the model has {}", names.join(", "));
                Error::new(ErrorKind::InvalidInput, message)
            },
        )
    }

    /// All outputs in the model's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// All outputs in the model's order.
    pub fn into_tensors(self) -> Vec<(String, Tensor)> {
        self.tensors
    }
}

/// A tensor in memory of its own.
pub(super) fn copied(tensor: &tch::Tensor) -> Result<tch::Tensor> {
    let mut copy = tensor.f_empty_like()?;
    copy.f_copy_(tensor)?;
    Ok(copy)
}

fn flatten(name: &str, value: Value, tensors: &mut Vec<(String, Tensor)>) -> Result<()> {
    match value {
        Value::Tensor(tensor) => {
            let copy = copied(&tensor).and_then(Tensor::try_from);
            let tensor = copy.map_err(|error| error.at(name))?;
            tensors.push((name.to_owned(), tensor));
        }
        // An optional output that was not computed.
        Value::None => {}
        Value::Tuple(items) | Value::List(items) => {
            for (i, item) in items.into_iter().enumerate() {
                flatten(&format!("{name}.{i}"), item, tensors)?;
            }
        }
        Value::Dict(entries) => {
            for (key, item) in entries {
                let Value::String(key) = key else {
                    let message = "the program returns a dict with keys that are not strings";
                    return Err(Error::new(ErrorKind::Unsupported, message));
                };
                let inner = if name == "output" { key } else { format!("{name}.{key}") };
                flatten(&inner, item, tensors)?;
            }
        }
        other => {
            let message = format!("{name}: found {}, expected tensors", other.type_name());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    }
    Ok(())
}
