//! Models that the plug-in for libtorch builds and runs.

use crate::archive::Archive;
use crate::attention::Attention;
use crate::batch::Inputs;
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::device::Dtype;
use crate::engine::{EngineKind, Outputs};
use crate::error::{Error, Result};
use crate::family::model::ModelSpec;
use crate::family::{Architecture, OutputSpec};
use crate::load::{LoadOptions, LoadReport};
use crate::module::Module;
use crate::plugin::{Request, ask, free};
use crate::tensor::Tensor;
use serde::Deserialize;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

pub(crate) const BUILDING: &str = "building a model from a checkpoint";

/// A model with its weights, ready to be traced: one of the plug-in for libtorch.
#[derive(Debug)]
pub struct PreTrained {
    description: Description,
    architecture: Architecture,
    attention: Attention,
    dtype: Dtype,
    hidden_states: bool,
    attentions: bool,
    config: Config,
    spec: ModelSpec,
}

/// How the plug-in describes a model.
#[derive(Debug, Deserialize)]
struct Description {
    model: u64,
    architecture: String,
    attention: String,
    dtype: String,
    parameter_count: u64,
    report: LoadReport,
}

impl PreTrained {
    /// Loads a checkpoint: names are brought up to date, tied weights separated, the model
    /// built.
    ///
    /// # Errors
    /// Besides those of reading the files: [`ErrorKind::MissingParameter`] and
    /// [`ErrorKind::ShapeMismatch`] with the parameters' names;
    /// [`ErrorKind::TorchUnavailable`] without the plug-in.
    pub fn from_checkpoint(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Self> {
        let directory = bytes(checkpoint.root())?;
        let request = Request::Build { directory, options: options.into() };
        let config = checkpoint.config().clone();
        Self::described(request, config, (options.hidden_states, options.attentions))
    }

    /// The model that an archive of this library was made of, built from its weights.
    pub(crate) fn of_archive(
        module: &Module,
        archive: &Archive,
        options: &LoadOptions,
    ) -> Result<Self> {
        let remote = module.source().remote(EngineKind::TorchScript)?;
        let request = Request::BuildOf { module: remote.number(), options: options.into() };
        let config = archive.config().clone();
        Self::described(request, config, (options.hidden_states, options.attentions))
    }

    /// The same model, its weights as they are, computing in float32.
    pub(crate) fn in_float32(&self) -> Result<Self> {
        let request = Request::InFloat32 { model: self.description.model };
        Self::described(request, self.config.clone(), (self.hidden_states, self.attentions))
    }

    /// The model that a request builds.
    fn described(
        request: Request,
        config: Config,
        (hidden_states, attentions): (bool, bool),
    ) -> Result<Self> {
        let description: Description = ask(BUILDING, &request, Vec::new())?.value()?;
        let parse = || -> Result<_> {
            let architecture: Architecture = description.architecture.parse()?;
            let spec = config.model(architecture)?;
            Ok((architecture, spec, description.attention.parse()?, description.dtype.parse()?))
        };
        let (architecture, spec, attention, dtype) = parse().inspect_err(|_| {
            free(Request::FreeModel { model: description.model });
        })?;
        Ok(Self {
            description,
            architecture,
            attention,
            dtype,
            hidden_states,
            attentions,
            config,
            spec,
        })
    }

    /// The architecture.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// How attention is computed.
    pub fn attention(&self) -> Attention {
        self.attention
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The dtype of the weights.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Number of values in all parameters, shared ones counted once.
    pub fn parameter_count(&self) -> u64 {
        self.description.parameter_count
    }

    /// What loading found and did.
    pub fn report(&self) -> &LoadReport {
        &self.description.report
    }

    /// What the model returns, in order: the outputs of its head, then hidden
    /// states, then attentions, if they were asked for.
    pub fn outputs(&self) -> Vec<OutputSpec> {
        self.spec.all_outputs(self.hidden_states, self.attentions)
    }

    /// Runs the model as it is, operator by operator, without TorchScript. Without a mask, all
    /// tokens take part; without token types, all are of type 0. The outputs come in the order
    /// of [`Self::outputs`].
    ///
    /// It is what a program is held against: nothing is checked before libtorch
    /// sees it.
    pub fn run(&self, inputs: &Inputs) -> Result<Outputs> {
        let (names, tensors): (Vec<_>, Vec<_>) =
            inputs.named().map(|(name, tensor)| (name.to_owned(), tensor.to_dlpack())).unzip();
        let request = Request::RunModel { model: self.description.model, names };
        let tensors = tensors.into_iter().collect::<Result<_>>()?;
        let found = ask(BUILDING, &request, tensors)?.named()?.into_iter();
        let found = found.map(|(name, tensor)| Ok((name, Tensor::from_managed(tensor)?)));
        Ok(Outputs::of(found.collect::<Result<_>>()?))
    }

    /// Its number in requests.
    pub(crate) fn number(&self) -> u64 {
        self.description.model
    }
}

/// A path, whatever becomes of the current directory.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>> {
    let path =
        std::path::absolute(path).map_err(|error| Error::io(path, "find the path", error))?;
    Ok(path.into_os_string().into_vec())
}

impl Drop for PreTrained {
    fn drop(&mut self) {
        free(Request::FreeModel { model: self.description.model });
    }
}
