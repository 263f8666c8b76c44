//! Does an archive compute what it should?

use crate::archive::{Metadata, weights_sha256};
use crate::checkpoint::{Checkpoint, StateDict};
use crate::compare::{Comparison, tolerance};
use crate::error::{Error, ErrorKind, Result};
use crate::models::{LoadOptions, ModelInputs, PreTrained};
use crate::module::{Inputs, Module};
use crate::trace::Example;
use serde::Serialize;
use tch::Tensor;

/// The outputs of one run against their reference.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What was run, such as `batch 5, length 64`.
    pub case: String,
    /// One comparison for each output.
    pub outputs: Vec<Comparison>,
}

impl Check {
    /// Whether every output is equal to its reference.
    pub fn is_equal(&self) -> bool {
        self.outputs.iter().all(Comparison::is_equal)
    }
}

/// The eager model to hold a module against: from a checkpoint, or from the
/// archive's own weights. Its dtype is the module's.
pub fn eager_model(module: &Module, checkpoint: Option<&Checkpoint>) -> Result<PreTrained> {
    let metadata = module.metadata();
    let returns = |name: &str| metadata.outputs.iter().any(|output| output.name == name);
    let options = LoadOptions {
        architecture: Some(metadata.architecture()?),
        dtype: Some(module.dtype()),
        attention: Some(metadata.attention.parse()?),
        hidden_states: returns("hidden_states.0"),
        attentions: returns("attentions.0"),
        ..LoadOptions::default()
    };
    if let Some(checkpoint) = checkpoint {
        return PreTrained::from_checkpoint(checkpoint, &options);
    }
    let mut state = StateDict::default();
    for (name, tensor) in module.parameters()? {
        state.insert(name, tensor.f_to_device(tch::Device::Cpu)?, "the archive");
    }
    let architecture = metadata.architecture()?;
    PreTrained::from_state_dict(architecture, module.config().clone(), state, &options)
}

/// Checks that the weights are those the archive was written with. Only a
/// module that keeps its dtype can be asked.
///
/// # Errors
/// [`ErrorKind::Verification`] with both digests.
pub fn check_weights(module: &Module) -> Result<()> {
    let Metadata { weights_sha256: expected, .. } = module.metadata();
    let found = weights_sha256(&module.parameters()?)?;
    if found == *expected {
        return Ok(());
    }
    let message = format!("expected SHA-256 {expected}, found {found}");
    Err(Error::new(ErrorKind::Verification, message).at("weights"))
}

/// Runs module and model on batches and lengths up to the greatest, with and
/// without padding.
pub fn against_model(module: &Module, model: &PreTrained) -> Result<Vec<Check>> {
    let longest = model.config().max_position_embeddings;
    let mut checks = Vec::new();
    for batch in [1, 5] {
        let mut lengths = [1, 3, 7, 64, longest].map(|length| length.min(longest)).to_vec();
        lengths.dedup();
        for length in lengths {
            let Example { input_ids, attention_mask, token_type_ids } =
                Example::new(batch, length, model)?;
            let expected = model.forward(ModelInputs {
                input_ids: &input_ids,
                attention_mask: Some(&attention_mask),
                token_type_ids: &token_type_ids,
            })?;
            let names = model.outputs().into_iter().map(|output| output.name);
            let expected: Vec<_> = names.zip(expected).collect();
            let inputs = Inputs::new(input_ids)
                .attention_mask(attention_mask)
                .token_type_ids(token_type_ids);
            checks.push(Check {
                case: format!("batch {batch}, length {length}"),
                outputs: against_reference(module, &inputs, &expected)?,
            });
        }
    }
    Ok(checks)
}

/// Runs the module and compares the outputs that the reference names.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if the reference is empty or names an output the
/// model does not have.
pub fn against_reference(
    module: &Module,
    inputs: &Inputs,
    reference: &[(String, Tensor)],
) -> Result<Vec<Comparison>> {
    if reference.is_empty() {
        return Err(Error::new(ErrorKind::InvalidInput, "the reference holds no outputs"));
    }
    let outputs = module.run(inputs)?;
    let compared = reference.iter().map(|(name, expected)| {
        Comparison::new(name, outputs.get(name)?, expected, tolerance(module.dtype()))
    });
    compared.collect()
}
