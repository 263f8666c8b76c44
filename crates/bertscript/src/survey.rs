//! What a checkpoint holds for an architecture, before anything is made of it.

use crate::checkpoint::{Checkpoint, Renamed, StateDict};
use crate::config::Config;
use crate::device::Dtype;
use crate::error::Result;
use crate::family::Architecture;
use crate::family::model::{ModelSpec, Tie};
use crate::untie::{TieReport, TieWeights, tie};
use crate::weights::{Init, Weights, is_floating};
use serde::Serialize;

/// What exporting a checkpoint would find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// The model class.
    pub architecture: String,
    /// `model_type`, which names the family.
    pub model_type: String,
    /// What the class is for, such as `ForMaskedLM`.
    pub task: String,
    /// The maximum sequence length.
    pub max_length: i64,
    /// The number of token ids.
    pub vocab_size: i64,
    /// The number of token types; 1 where they make no difference.
    pub type_vocab_size: i64,
    /// The weight file, or the index of several.
    pub weights: Option<String>,
    /// The dtype that the export would have.
    pub dtype: String,
    /// Number of parameters that the architecture has.
    pub parameters: usize,
    /// Those that the checkpoint lacks.
    pub missing: Vec<String>,
    /// Those that are tied to another.
    pub tied: Vec<String>,
    /// Names that the checkpoint spells differently.
    pub renamed: Vec<Renamed>,
    /// Names in the checkpoint that the architecture does not use.
    pub unexpected: Vec<String>,
    /// The files that would be bundled.
    pub files: Vec<String>,
}

impl Survey {
    /// Looks through a checkpoint for an architecture, or for the one that its
    /// `config.json` names.
    ///
    /// # Errors
    /// Those of reading the files, and of a parameter with another shape than
    /// the configuration says. Missing parameters are no error here.
    pub fn of(checkpoint: &Checkpoint, architecture: Option<Architecture>) -> Result<Self> {
        let config = checkpoint.config();
        let architecture = match architecture {
            Some(architecture) => architecture,
            None => config
                .architecture()
                .map_err(|error| error.at_path(&checkpoint.directory().join("config.json")))?,
        };
        let (spec, state) = (config.model(architecture)?, checkpoint.state_dict()?);
        let Prepared { state, dtype, renamed, ties, .. } =
            Prepared::new(&spec, config, state, TieWeights::Keep)?;
        let weights = Weights::new(state, dtype, None);
        for parameter in spec.parameters() {
            let _ = weights.find(&parameter.name, &parameter.shape, Init::Zeros)?;
        }
        let (parameters, missing, unexpected) = weights.survey();
        let files = checkpoint.assets()?.names().map(str::to_owned).collect();
        let file_name = |path: &std::path::Path| path.file_name()?.to_str().map(str::to_owned);
        Ok(Self {
            architecture: architecture.name(),
            model_type: architecture.model_type().to_owned(),
            task: architecture.task().to_string(),
            max_length: config.max_length(),
            vocab_size: config.vocab_size(),
            type_vocab_size: config.type_vocab_size(),
            weights: checkpoint.weights().and_then(file_name),
            dtype: dtype.name().to_owned(),
            parameters,
            missing,
            tied: ties.tied.into_iter().map(|[_, target]| target).collect(),
            renamed,
            unexpected,
            files,
        })
    }
}

/// Named tensors, as an architecture names and ties them.
pub(crate) struct Prepared {
    pub(crate) state: StateDict,
    /// The dtype that they have.
    pub(crate) dtype: Dtype,
    pub(crate) renamed: Vec<Renamed>,
    /// Those that the configuration ties.
    pub(crate) pairs: Vec<Tie>,
    pub(crate) ties: TieReport,
}

impl Prepared {
    pub(crate) fn new(
        spec: &ModelSpec,
        config: &Config,
        mut state: StateDict,
        ties: TieWeights,
    ) -> Result<Self> {
        let dtype = common_dtype(&state);
        let renamed = state.rename(spec)?;
        let pairs = if config.tie_word_embeddings { spec.ties() } else { Vec::new() };
        let ties = tie(&mut state, &pairs, ties)?;
        Ok(Self { state, dtype, renamed, pairs, ties })
    }
}

/// The dtype that all floating-point tensors have.
fn common_dtype(state: &StateDict) -> Dtype {
    let types = state.tensors().map(|(_, tensor)| tensor.element_type());
    let floating: Vec<_> = types.filter(|found| is_floating(*found)).collect();
    match floating.first().copied().and_then(Dtype::from_element_type) {
        Some(dtype) if floating.iter().all(|found| *found == dtype.element_type()) => dtype,
        _ => Dtype::F32,
    }
}
