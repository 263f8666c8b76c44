//! Loading an archive onto a device and running it.

mod inputs;

pub use inputs::Inputs;

use crate::archive::{Archive, Metadata};
use crate::config::BertConfig;
use crate::device::{Device, Dtype};
use crate::error::{Error, ErrorKind, Result};
use std::path::Path;
use tch::Tensor;
use torchscript::{InferenceMode, NamedTensor, ScriptModule, Value};

/// An archive made ready for one device and one dtype.
///
/// A module may be shared by any number of threads, which may run it at the
/// same time; nothing is locked.
#[derive(Debug)]
pub struct Module {
    script: ScriptModule,
    archive: Archive,
    device: tch::Device,
    dtype: Dtype,
}

impl Module {
    /// Loads an archive from a file. The weights are cast to `dtype`, or keep
    /// the dtype they were exported with.
    ///
    /// # Errors
    /// Those of [`Archive::open`], and [`ErrorKind::Device`] if the device
    /// cannot be had.
    pub fn load(path: &Path, device: Device, dtype: Option<Dtype>) -> Result<Self> {
        let archive = Archive::open(path)?;
        let device = device.resolve()?;
        let load =
            || Self::prepare(ScriptModule::load(path, Some(device))?, archive, device, dtype);
        load().map_err(|error| error.at_path(path))
    }

    /// Loads an archive from memory, as [`Self::load`] does from a file.
    pub fn from_bytes(bytes: &[u8], device: Device, dtype: Option<Dtype>) -> Result<Self> {
        let archive = Archive::from_bytes(bytes)?;
        let device = device.resolve()?;
        Self::prepare(ScriptModule::load_bytes(bytes, Some(device))?, archive, device, dtype)
    }

    fn prepare(
        mut script: ScriptModule,
        archive: Archive,
        device: tch::Device,
        dtype: Option<Dtype>,
    ) -> Result<Self> {
        let stored = archive.metadata().dtype()?;
        let dtype = dtype.unwrap_or(stored);
        if dtype != stored {
            script.to(None, Some(dtype.kind()))?;
        }
        script.eval()?;
        Ok(Self { script, archive, device, dtype })
    }

    /// Runs the model.
    ///
    /// The inputs are checked before libtorch sees them and moved to the
    /// module's device; the outputs stay there.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] with the argument's name, what was found in
    /// it and the bound. The module stays usable.
    pub fn run(&self, inputs: &Inputs) -> Result<Outputs> {
        inputs.check(self.metadata())?;
        let _inference = InferenceMode::enter();
        let on_device = |tensor: Option<&Tensor>| -> Result<Value> {
            Ok(tensor
                .map(|tensor| tensor.f_to_device(self.device))
                .transpose()?
                .map_or(Value::None, Value::Tensor))
        };
        let arguments = [
            on_device(Some(&inputs.input_ids))?,
            on_device(inputs.attention_mask.as_ref())?,
            on_device(inputs.token_type_ids.as_ref())?,
        ];
        let tensors = self.script.call("forward", &arguments, &[])?.into_tensors()?;
        let names = &self.metadata().outputs;
        if tensors.len() != names.len() {
            let message = format!("expected {} outputs, found {}", names.len(), tensors.len());
            return Err(Error::new(ErrorKind::Archive, message));
        }
        let named = names.iter().map(|output| output.name.clone()).zip(tensors);
        Ok(Outputs { tensors: named.collect() })
    }

    /// The description of the model.
    pub fn metadata(&self) -> &Metadata {
        self.archive.metadata()
    }

    /// The configuration of the model.
    pub fn config(&self) -> &BertConfig {
        self.archive.config()
    }

    /// The dtype it runs in.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The weights, by transformers' names.
    pub fn parameters(&self) -> Result<Vec<(String, Tensor)>> {
        let named = self.script.named_tensors()?.into_iter();
        Ok(named.map(|NamedTensor { name, tensor, .. }| (name, tensor)).collect())
    }
}

/// The outputs of a run, by name.
#[derive(Debug)]
pub struct Outputs {
    tensors: Vec<(String, Tensor)>,
}

impl Outputs {
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
