//! From an opened checkpoint to a loaded model.

use super::{Model, ModelInputs};
use crate::assets::Assets;
use crate::attention::Attention;
use crate::checkpoint::{Checkpoint, StateDict};
use crate::config::Config;
use crate::device::Dtype;
use crate::error::{Error, ErrorKind, Result};
use crate::family::model::ModelSpec;
use crate::family::{Architecture, OutputSpec};
use crate::load::{LoadOptions, LoadReport};
use crate::nn::AttentionForm;
use crate::survey::Prepared;
use crate::weights::TorchWeights;
use crate::weights::{RandomInit, Weights};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tch::Tensor;

/// A model with its weights, ready to be traced.
pub struct PreTrained {
    spec: ModelSpec,
    attention: Attention,
    hidden_states: bool,
    attentions: bool,
    config: Config,
    dtype: Dtype,
    model: Model,
    parameters: Vec<(String, Tensor)>,
    report: LoadReport,
    /// Where it was loaded from, if from there.
    checkpoint: Option<Checkpoint>,
    /// What stands beside the weights, if not what the checkpoint has.
    assets: Option<Assets>,
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
            None => config
                .architecture()
                .map_err(|error| error.at_path(&checkpoint.directory().join("config.json")))?,
        };
        if checkpoint.weights().is_none() && options.random_init.is_none() {
            let message = "no weights are here, and no random initialisation was asked for";
            return Err(Error::new(ErrorKind::Checkpoint, message).at_path(checkpoint.directory()));
        }
        let place = checkpoint.weights().unwrap_or(checkpoint.directory());
        let model = Self::from_state_dict(architecture, config, checkpoint.state_dict()?, options)
            .map_err(|error| error.at_path(place))?;
        Ok(Self { checkpoint: Some(checkpoint.clone()), ..model })
    }

    /// Builds a model from named tensors. Nothing stands beside them; an archive of the model
    /// takes a `config.json` at least ([`Self::with_assets`]).
    pub fn from_state_dict(
        architecture: Architecture,
        config: Config,
        state: StateDict,
        options: &LoadOptions,
    ) -> Result<Self> {
        let _entered = torchscript::enter()?;
        let attention = match (options.attention, options.attentions) {
            (Some(Attention::Sdpa), true) => {
                let message = "sdpa has no probabilities to return; attentions need eager";
                return Err(Error::new(ErrorKind::InvalidInput, message).at("attention"));
            }
            (Some(attention), _) => attention,
            (None, true) => Attention::Eager,
            (None, false) => Attention::Sdpa,
        };
        let spec = config.model(architecture)?;
        let Prepared { state, dtype, renamed, pairs, mut ties } =
            Prepared::new(&spec, &config, state, options.ties)?;
        let dtype = options.dtype.unwrap_or(dtype);
        let random = options
            .random_init
            .map(|seed| RandomInit { seed, initializer_range: config.initializer_range });
        let weights = Weights::new(state, dtype, random).checked();
        let weights = TorchWeights::new(weights.tied(pairs.clone(), options.ties));
        let model = Model::load(&weights, &spec, AttentionForm::Padded(attention))?;
        let (parameters, loaded) = weights.finish()?;
        for pair in &pairs {
            let is_new = |name: &String| loaded.initialized.contains(name);
            if is_new(&pair.source) && is_new(&pair.target) {
                ties.add(pair, options.ties);
            }
        }
        let model = Self {
            spec,
            attention,
            hidden_states: options.hidden_states,
            attentions: options.attentions,
            config,
            dtype,
            model,
            parameters,
            report: LoadReport {
                renamed,
                unexpected: loaded.unexpected,
                initialized: loaded.initialized,
                ties,
            },
            checkpoint: None,
            assets: None,
        };
        model.check_storages()?;
        Ok(model)
    }

    /// The same model, its weights as they are, computing in float32.
    pub(crate) fn in_float32(&self) -> Result<Self> {
        let mut state = StateDict::default();
        for (name, tensor) in &self.parameters {
            state.insert(name.clone(), tensor.shallow_clone().try_into()?, "the model");
        }
        let options = LoadOptions {
            dtype: Some(Dtype::F32),
            attention: Some(self.attention),
            hidden_states: self.hidden_states,
            attentions: self.attentions,
            ..LoadOptions::default()
        };
        Self::from_state_dict(self.architecture(), self.config.clone(), state, &options)
    }

    /// The tracer must not take two parameters for one: only those that are
    /// tied on purpose may share a storage.
    fn check_storages(&self) -> Result<()> {
        let mut owners = BTreeMap::new();
        for (name, tensor) in &self.parameters {
            if let Some(owner) = owners.insert(tensor.data_ptr() as usize, name) {
                let pair = [owner.clone(), name.clone()];
                let is = |tied: &[String; 2]| pair.iter().all(|name| tied.contains(name));
                if !self.report.ties.tied.iter().any(is) {
                    let message = format!("shares its storage with {owner}");
                    return Err(Error::new(ErrorKind::Torch, message).at(name));
                }
            }
        }
        Ok(())
    }

    /// The architecture.
    pub fn architecture(&self) -> Architecture {
        self.spec.architecture
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

    /// The parameters under transformers' names.
    pub fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }

    /// Number of values in all parameters, shared ones counted once.
    pub fn parameter_count(&self) -> u64 {
        let is_shared = |name: &str| self.report.ties.tied.iter().any(|[_, target]| target == name);
        let own = self.parameters.iter().filter(|(name, _)| !is_shared(name));
        own.map(|(_, tensor)| tensor.numel() as u64).sum()
    }

    /// What loading found and did.
    pub fn report(&self) -> &LoadReport {
        &self.report
    }

    /// What stands beside the weights in an archive of the model: `config.json`, tokenizer,
    /// pipeline. Of a checkpoint they are read when they are asked for.
    ///
    /// # Errors
    /// Those of [`Checkpoint::assets`].
    pub fn assets(&self) -> Result<Assets> {
        match (&self.assets, &self.checkpoint) {
            (Some(assets), _) => Ok(assets.clone()),
            (None, Some(checkpoint)) => checkpoint.assets(),
            (None, None) => Ok(Assets::default()),
        }
    }

    /// The same model with other files beside its weights.
    #[must_use]
    pub fn with_assets(self, assets: Assets) -> Self {
        Self { assets: Some(assets), ..self }
    }

    /// The files of the checkpoint that it was loaded from, which an export must not
    /// overwrite.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        self.checkpoint.as_ref().map_or(Ok(Vec::new()), Checkpoint::files)
    }

    /// What the model returns, in order: the outputs of its head, then hidden
    /// states, then attentions, if they were asked for.
    pub fn outputs(&self) -> Vec<OutputSpec> {
        self.spec.all_outputs(self.hidden_states, self.attentions)
    }

    /// Runs the model. The outputs come in the order of [`Self::outputs`].
    pub(crate) fn forward(&self, inputs: ModelInputs<'_>) -> Result<Vec<Tensor>> {
        let found = self.model.forward(inputs)?;
        let mut outputs = found.outputs;
        if self.hidden_states {
            outputs.extend(found.hidden_states);
        }
        if self.attentions {
            outputs.extend(found.attentions);
        }
        Ok(outputs)
    }
}
