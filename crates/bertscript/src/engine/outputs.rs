//! The outputs of a module, by name.

use crate::archive::OutputInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Tensor;

/// The outputs of a run, by name.
#[derive(Debug)]
pub struct Outputs {
    pub(super) tensors: Vec<(String, Tensor)>,
}

impl Outputs {
    /// Tensors under their names.
    pub(crate) fn of(tensors: Vec<(String, Tensor)>) -> Self {
        Self { tensors }
    }

    /// Tensors under the names that an archive of this library describes.
    pub(super) fn named(tensors: Vec<Tensor>, names: &[OutputInfo]) -> Result<Self> {
        if tensors.len() != names.len() {
            let message = format!("expected {} outputs, found {}", names.len(), tensors.len());
            return Err(Error::new(ErrorKind::Archive, message));
        }
        let names = names.iter().map(|output| output.name.clone());
        Ok(Self { tensors: names.zip(tensors).collect() })
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
