//! How a checkpoint becomes a model, and what was found.

use crate::attention::Attention;
use crate::checkpoint::Renamed;
use crate::device::Dtype;
use crate::family::Architecture;
#[cfg(not(feature = "torch"))]
use crate::plugin::BuildRequest;
use crate::untie::{TieReport, TieWeights};
use serde::{Deserialize, Serialize};

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
    /// What becomes of tied weights.
    pub ties: TieWeights,
    /// How attention is computed; otherwise eager where its probabilities are
    /// wanted, and SDPA where they are not.
    pub attention: Option<Attention>,
    /// Whether to return the hidden states of every layer too, as
    /// `hidden_states.0` (the embeddings) and so on.
    pub hidden_states: bool,
    /// Whether to return the attention probabilities of every layer too, as
    /// `attentions.0` and so on.
    pub attentions: bool,
}

/// What loading found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadReport {
    /// Names that the checkpoint spells differently.
    pub renamed: Vec<Renamed>,
    /// Names in the checkpoint that the architecture does not use.
    pub unexpected: Vec<String>,
    /// Parameters that the checkpoint lacks and that were initialised.
    pub initialized: Vec<String>,
    /// Tied parameters.
    #[serde(flatten)]
    pub ties: TieReport,
}

#[cfg(not(feature = "torch"))]
impl From<&LoadOptions> for BuildRequest {
    fn from(options: &LoadOptions) -> Self {
        Self {
            architecture: options.architecture.map(|known| known.to_string()),
            dtype: options.dtype.map(|dtype| dtype.name().to_owned()),
            random_init: options.random_init,
            keep_tied: options.ties == TieWeights::Keep,
            attention: options.attention.map(|attention| attention.name().to_owned()),
            hidden_states: options.hidden_states,
            attentions: options.attentions,
        }
    }
}
