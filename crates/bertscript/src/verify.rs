//! Does an archive compute what it should?

#![expect(clippy::disallowed_methods, reason = "looks at results, records no trace")]

use crate::archive::weights_sha256;
use crate::checkpoint::{Checkpoint, StateDict};
use crate::compare::{Comparison, tolerance};
use crate::error::{Error, ErrorKind, Result};
use crate::models::{LoadOptions, ModelInputs, PreTrained};
use crate::module::{Inputs, Module, Outputs, Plan};
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
    let archive = module.archive().ok_or_else(|| {
        let message = "the program does not say what model it is; give inputs and the outputs expected for them";
        Error::new(ErrorKind::InvalidInput, message)
    })?;
    let metadata = archive.metadata();
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
    PreTrained::from_state_dict(architecture, archive.config().clone(), state, &options)
}

/// Checks that the weights are those the archive was written with. `false` if
/// that cannot be asked: of a module that was cast to another dtype, or of a
/// program that carries no digest.
///
/// # Errors
/// [`ErrorKind::Verification`] with both digests.
pub fn check_weights(module: &Module) -> Result<bool> {
    let Some(metadata) = module.metadata() else { return Ok(false) };
    if metadata.dtype()? != module.dtype() {
        return Ok(false);
    }
    let (expected, found) = (&metadata.weights_sha256, weights_sha256(&module.parameters()?)?);
    if found == *expected {
        return Ok(true);
    }
    let message = format!("expected SHA-256 {expected}, found {found}");
    Err(Error::new(ErrorKind::Verification, message).at("weights"))
}

/// Runs module and model on batches and lengths up to the greatest, with and
/// without padding; a program of fixed shapes on those, and on smaller ones.
pub fn against_model(module: &Module, model: &PreTrained) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for shape in shapes(module, model) {
        let Example { input_ids, attention_mask, token_type_ids } =
            Example::of_shape(&shape, model)?;
        let expected = model.forward(ModelInputs {
            input_ids: &input_ids,
            attention_mask: Some(&attention_mask),
            token_type_ids: &token_type_ids,
            ragged: None,
        })?;
        let names = model.outputs().into_iter().map(|output| output.name);
        let expected: Vec<_> = names.zip(expected).collect();
        let mask = attention_mask.shallow_clone();
        let inputs =
            Inputs::new(input_ids).attention_mask(attention_mask).token_type_ids(token_type_ids);
        let sizes: Vec<_> = shape.iter().map(i64::to_string).collect();
        checks.push(Check {
            case: format!("shape {}", sizes.join("x")),
            outputs: compare(module, &module.run(&inputs)?, &expected, Some(&mask))?,
        });
    }
    Ok(checks)
}

fn shapes(module: &Module, model: &PreTrained) -> Vec<Vec<i64>> {
    let fixed = module.metadata().map_or(&[][..], |metadata| &metadata.fixed_shapes);
    if !fixed.is_empty() {
        let smaller = |shape: &Vec<i64>| shape.iter().map(|size| (size * 2 / 3).max(1)).collect();
        return fixed.iter().flat_map(|shape| [smaller(shape), shape.clone()]).collect();
    }
    let longest = model.config().max_position_embeddings;
    let mut lengths = [1, 3, 7, 64, longest].map(|length| length.min(longest)).to_vec();
    lengths.dedup();
    let shape = |batch| move |length: &i64| Example::shape(batch, *length, model);
    lengths.iter().map(shape(1)).chain(lengths.iter().map(shape(5))).collect()
}

/// Runs the module on named tensors and compares the outputs that the reference
/// names. Any program can be asked.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if the reference is empty or names an output the
/// model does not have.
pub fn against_reference(
    module: &Module,
    inputs: Vec<(String, Tensor)>,
    reference: &[(String, Tensor)],
) -> Result<Check> {
    if reference.is_empty() {
        return Err(Error::new(ErrorKind::InvalidInput, "the reference holds no outputs"));
    }
    let mask = inputs.iter().find(|(name, _)| name == "attention_mask");
    let mask = mask.map(|(_, mask)| mask.shallow_clone());
    let outputs = compare(module, &module.run_named(inputs)?, reference, mask.as_ref())?;
    Ok(Check { case: "given inputs".to_owned(), outputs })
}

fn compare(
    module: &Module,
    outputs: &Outputs,
    reference: &[(String, Tensor)],
    mask: Option<&Tensor>,
) -> Result<Vec<Comparison>> {
    let tolerance = tolerance(module.dtype());
    // By a packed plan nothing is computed where there is padding.
    let mask = mask.filter(|_| module.plan() != Plan::Scripted);
    let compared = reference.iter().map(|(name, expected)| {
        let found = outputs.get(name)?;
        let info = module.metadata().and_then(|m| m.outputs.iter().find(|o| o.name == *name));
        match (mask, info) {
            (Some(mask), Some(info)) if info.shape.get(1).is_some_and(|size| size == "S") => {
                let found = at_tokens(found, mask)?;
                Comparison::new(name, &found, &at_tokens(expected, mask)?, tolerance)
            }
            _ => Comparison::new(name, found, expected, tolerance),
        }
    });
    compared.collect()
}

/// `values` `[B,S,..]`, with zeros where the mask has them; as they are, if that
/// is not their shape.
fn at_tokens(values: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let (sizes, length) = (values.size(), mask.size().last().copied().unwrap_or(0));
    let mut hole = mask.f_eq(0)?.f_reshape([-1, length])?;
    if !sizes.starts_with(&hole.size()) {
        return Ok(values.shallow_clone());
    }
    while hole.dim() < sizes.len() {
        hole = hole.f_unsqueeze(-1)?;
    }
    Ok(values.f_masked_fill(&hole, 0.)?)
}
