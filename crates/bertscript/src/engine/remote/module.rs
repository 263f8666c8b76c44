//! Modules of the plug-in's.

use crate::device::{Device, Dtype};
use crate::engine::{EngineKind, Outputs};
use crate::error::Result;
use crate::plugin::{Answered, Request, ask, free};
use crate::tensor::Tensor;
use serde::Deserialize;
use std::fs::File;
use std::os::fd::AsRawFd;
use torchscript_reader::{Argument, MethodSchema};

/// A module of the plug-in's.
#[derive(Debug)]
pub(crate) struct RemoteModule {
    module: u64,
    schema: Schema,
    dtype: Dtype,
}

/// How the plug-in describes a module.
#[derive(Debug, Deserialize)]
struct Description {
    module: u64,
    dtype: String,
    schema: Schema,
}

#[derive(Debug, Clone, Deserialize)]
struct Schema {
    /// Name, type, and whether it may be left out.
    arguments: Vec<(String, String, bool)>,
    returns: String,
}

impl RemoteModule {
    /// Loads an archive of an open file, or of bytes, for an engine.
    pub(crate) fn load(
        what: &str,
        archive: (Option<&File>, Option<&Tensor>),
        (device, dtype): (Device, Option<Dtype>),
        engine: Option<EngineKind>,
    ) -> Result<Self> {
        let (file, bytes) = archive;
        let request = Request::Load {
            file: file.map(AsRawFd::as_raw_fd),
            device: device.to_string(),
            dtype: dtype.map(|dtype| dtype.name().to_owned()),
            engine: engine.map(|engine| engine.name().to_owned()),
        };
        let bytes = bytes.map(Tensor::to_dlpack).transpose()?;
        Self::described(ask(what, &request, bytes.into_iter().collect())?)
    }

    fn described(answered: Answered) -> Result<Self> {
        let Description { module, dtype, schema } = answered.value()?;
        // Ended with this one, whatever else is wrong.
        let mut remote = Self { module, schema, dtype: Dtype::F32 };
        remote.dtype = dtype.parse()?;
        Ok(remote)
    }

    /// The same on another device, in another dtype.
    pub(crate) fn to(&self, device: Device, dtype: Dtype) -> Result<Self> {
        let (device, dtype) = (device.to_string(), dtype.name().to_owned());
        let request = Request::To { module: self.module, device, dtype };
        Self::described(ask("a module", &request, Vec::new())?)
    }

    /// Its number in requests.
    pub(crate) fn number(&self) -> u64 {
        self.module
    }

    /// The dtype of its weights.
    pub(crate) fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The signature of `forward`.
    pub(crate) fn schema(&self) -> MethodSchema {
        let arguments = self.schema.arguments.iter().cloned();
        let arguments = arguments.map(|(name, type_name, has_default)| Argument {
            name,
            type_name,
            has_default,
        });
        MethodSchema { arguments: arguments.collect(), returns: self.schema.returns.clone() }
    }

    /// The parameters, by name.
    pub(crate) fn parameters(&self) -> Result<Vec<(String, Tensor)>> {
        let request = Request::Parameters { module: self.module };
        named(ask("a module", &request, Vec::new())?)
    }

    /// All outputs of inputs.
    pub(crate) fn run<'a>(
        &self,
        inputs: impl Iterator<Item = (impl Into<String>, &'a Tensor)>,
    ) -> Result<Outputs> {
        let (mut names, mut tensors) = (Vec::new(), Vec::new());
        for (name, tensor) in inputs {
            names.push(name.into());
            tensors.push(tensor.to_dlpack()?);
        }
        let request = Request::Run { module: self.module, names };
        Ok(Outputs { tensors: named(ask("a module", &request, tensors)?)? })
    }

    /// Asks what `request` makes of the module, with tensors.
    pub(crate) fn ask(
        &self,
        request: impl FnOnce(u64) -> Request,
        tensors: &[Tensor],
    ) -> Result<Answered> {
        let tensors = tensors.iter().map(Tensor::to_dlpack).collect::<Result<_>>()?;
        ask("a module", &request(self.module), tensors)
    }
}

/// Tensors with their names.
fn named(answered: Answered) -> Result<Vec<(String, Tensor)>> {
    let named = answered.named()?.into_iter();
    named.map(|(name, tensor)| Ok((name, Tensor::from_managed(tensor)?))).collect()
}

impl Drop for RemoteModule {
    fn drop(&mut self) {
        free(Request::Free { module: self.module });
    }
}
