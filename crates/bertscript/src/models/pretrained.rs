//! From an opened checkpoint to a loaded model.

#![expect(clippy::disallowed_methods, reason = "looks at weights, records no trace")]

use super::{Architecture, Model, ModelInputs};
use crate::checkpoint::{Checkpoint, Renamed, StateDict};
use crate::config::BertConfig;
use crate::device::Dtype;
use crate::error::{Error, ErrorKind, Result};
use crate::untie::{Untied, untie};
use crate::weights::{RandomInit, Weights};
use serde::Serialize;
use std::collections::BTreeSet;
use tch::{Kind, Tensor};

/// How to load a checkpoint.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoadOptions {
    /// The architecture; otherwise the one that `config.json` names.
    pub architecture: Option<Architecture>,
    /// The dtype of the weights; otherwise the checkpoint's own, or float32
    /// where it has none or several.
    pub dtype: Option<Dtype>,
    /// The seed for parameters that the checkpoint lacks; otherwise lacking one
    /// is an error.
    pub random_init: Option<u64>,
}

/// What loading found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LoadReport {
    /// Names that the checkpoint spells differently.
    pub renamed: Vec<Renamed>,
    /// Names in the checkpoint that the architecture does not use.
    pub unexpected: Vec<String>,
    /// Parameters that the checkpoint lacks and that were initialised.
    pub initialized: Vec<String>,
    /// Tied parameters.
    #[serde(flatten)]
    pub ties: Untied,
}

/// A model with its weights, ready to be traced. Every parameter has a storage
/// of its own.
pub struct PreTrained {
    architecture: Architecture,
    config: BertConfig,
    dtype: Dtype,
    model: Box<dyn Model>,
    parameters: Vec<(String, Tensor)>,
    report: LoadReport,
}

impl PreTrained {
    /// Loads a checkpoint: names are brought up to date, tied weights
    /// separated, the model built.
    ///
    /// # Errors
    /// Besides those of reading the files: [`ErrorKind::MissingParameter`] and
    /// [`ErrorKind::ShapeMismatch`] with the parameters' names.
    pub fn from_checkpoint(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Self> {
        let config = checkpoint.config().clone();
        let architecture = match options.architecture {
            Some(architecture) => architecture,
            None => Architecture::from_config(&config)
                .map_err(|error| error.at_path(&checkpoint.directory().join("config.json")))?,
        };
        if checkpoint.weights().is_none() && options.random_init.is_none() {
            let message = "no model.safetensors here, and no random initialisation was asked for";
            return Err(Error::new(ErrorKind::Checkpoint, message).at_path(checkpoint.directory()));
        }
        let place = checkpoint.weights().unwrap_or(checkpoint.directory());
        Self::from_state_dict(architecture, config, checkpoint.state_dict()?, options)
            .map_err(|error| error.at_path(place))
    }

    /// Builds a model from named tensors.
    pub fn from_state_dict(
        architecture: Architecture,
        config: BertConfig,
        mut state: StateDict,
        options: &LoadOptions,
    ) -> Result<Self> {
        let dtype = options.dtype.unwrap_or_else(|| common_dtype(&state));
        let renamed = state.rename(architecture.has_base_prefix())?;
        let mut ties = untie(&mut state, architecture.ties(), config.tie_word_embeddings)?;

        let random = options
            .random_init
            .map(|seed| RandomInit { seed, initializer_range: config.initializer_range });
        let weights = Weights::new(state, dtype, random);
        let model = architecture.load(&weights, &config)?;
        let loaded = weights.finish()?;
        if config.tie_word_embeddings {
            initialize_ties(architecture, &loaded.parameters, &loaded.initialized, &mut ties)?;
        }
        assert_separate(&loaded.parameters)?;
        Ok(Self {
            architecture,
            config,
            dtype,
            model,
            parameters: loaded.parameters,
            report: LoadReport {
                renamed,
                unexpected: loaded.unexpected,
                initialized: loaded.initialized,
                ties,
            },
        })
    }

    /// The architecture.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The configuration.
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// The dtype of the weights.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The parameters under transformers' names.
    pub fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }

    /// What loading found and did.
    pub fn report(&self) -> &LoadReport {
        &self.report
    }

    pub(crate) fn forward(&self, inputs: ModelInputs<'_>) -> Result<Vec<Tensor>> {
        self.model.forward(inputs)
    }
}

/// The dtype that all floating-point tensors have.
fn common_dtype(state: &StateDict) -> Dtype {
    let kinds = state.tensors().map(|(_, tensor)| tensor.kind());
    let floating: Vec<_> = kinds
        .filter(|kind| matches!(kind, Kind::Float | Kind::Half | Kind::BFloat16 | Kind::Double))
        .collect();
    match floating.first().copied().and_then(Dtype::from_kind) {
        Some(dtype) if floating.iter().all(|kind| *kind == dtype.kind()) => dtype,
        _ => Dtype::F32,
    }
}

/// Where both names of a tie were initialised, both get the first one's values,
/// as transformers ties after initialising.
fn initialize_ties(
    architecture: Architecture,
    parameters: &[(String, Tensor)],
    initialized: &[String],
    ties: &mut Untied,
) -> Result<()> {
    let parameter = |name: &str| {
        let is_new = initialized.iter().any(|known| known == name);
        parameters.iter().find(|(known, _)| is_new && known == name).map(|(_, tensor)| tensor)
    };
    for tie in architecture.ties() {
        if let (Some(source), Some(target)) = (parameter(tie.source), parameter(tie.target)) {
            target.shallow_clone().f_copy_(source)?;
            ties.untied.push([tie.source.to_owned(), tie.target.to_owned()]);
        }
    }
    Ok(())
}

/// The tracer knows parameters by identity: two names on one storage would
/// become one.
fn assert_separate(parameters: &[(String, Tensor)]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for (name, tensor) in parameters {
        if !seen.insert(tensor.data_ptr() as usize) {
            let message = "shares its storage with another parameter after untying";
            return Err(Error::new(ErrorKind::Torch, message).at(name));
        }
    }
    Ok(())
}
