//! Models that the plug-in for libtorch builds and traces.

use crate::archive::Archive;
use crate::attention::Attention;
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::device::{Device, Dtype};
use crate::error::{Error, ErrorKind, Result};
use crate::family::Architecture;
use crate::load::{LoadOptions, LoadReport};
use crate::module::Module;
use crate::plugin::{BuildRequest, Request, ask, tell};
use crate::shapes::Shapes;
use crate::untie::TieWeights;
use serde::Deserialize;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

const BUILDING: &str = "building a model from a checkpoint";

/// A model with its weights, ready to be traced: one of the plug-in for libtorch.
#[derive(Debug)]
pub struct PreTrained {
    description: Description,
    architecture: Architecture,
    attention: Attention,
    dtype: Dtype,
    config: Config,
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
        let options = BuildRequest {
            architecture: options.architecture.map(|known| known.to_string()),
            dtype: options.dtype.map(|dtype| dtype.name().to_owned()),
            random_init: options.random_init,
            keep_tied: options.ties == TieWeights::Keep,
            attention: options.attention.map(|attention| attention.name().to_owned()),
            hidden_states: options.hidden_states,
            attentions: options.attentions,
        };
        let request = Request::Build { directory, options };
        let description: Description = ask(BUILDING, &request, Vec::new())?.value()?;
        let free = |error| {
            let _ = tell(&Request::FreeModel { model: description.model });
            error
        };
        let architecture = description.architecture.parse().map_err(free)?;
        let attention = description.attention.parse().map_err(free)?;
        let dtype = description.dtype.parse().map_err(free)?;
        let config = checkpoint.config().clone();
        Ok(Self { description, architecture, attention, dtype, config })
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

    /// Traces the model and writes it to `file`, with what stood beside its weights in the
    /// checkpoint. It appears once all is verified.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if `file` is a file of the checkpoint, or something other
    /// than a regular file; [`ErrorKind::Io`]; [`ErrorKind::Verification`] if what the file
    /// computes differs from the model.
    pub fn export(&self, shapes: &Shapes, file: impl AsRef<Path>) -> Result<Archive> {
        let file = file.as_ref();
        let (model, path) = (self.description.model, bytes(file)?);
        ask(BUILDING, &Request::Export { model, shapes: shapes.clone(), path }, Vec::new())?;
        Archive::open(file)?.ok_or_else(|| {
            Error::new(ErrorKind::Archive, "it does not describe itself").at_path(file)
        })
    }

    /// Traces the model to a module that runs on the CPU, and that [`Module::save`] writes.
    ///
    /// # Errors
    /// [`ErrorKind::Verification`] if what the code computes differs from the model.
    pub fn to_module(&self, shapes: &Shapes) -> Result<Module> {
        let file = bertscript_process::memory_file().map_err(|error| {
            Error::new(ErrorKind::Io, "cannot make a file in memory").because(error)
        })?;
        let (model, descriptor) = (self.description.model, file.as_raw_fd());
        let request = Request::Trace { model, shapes: shapes.clone(), file: descriptor };
        ask(BUILDING, &request, Vec::new())?;
        Module::from_file(file, Device::Cpu, None)
    }
}

/// A path, whatever becomes of the current directory.
fn bytes(path: &Path) -> Result<Vec<u8>> {
    let path =
        std::path::absolute(path).map_err(|error| Error::io(path, "find the path", error))?;
    Ok(path.into_os_string().into_vec())
}

impl Drop for PreTrained {
    fn drop(&mut self) {
        // There is nobody to tell that it failed, and nothing that would end it then.
        let _ = tell(&Request::FreeModel { model: self.description.model });
    }
}
