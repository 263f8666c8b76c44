//! Does an archive compute what it should?

use crate::archive::weights_sha256;
use crate::batch::Inputs;
use crate::checkpoint::Checkpoint;
use crate::compare::{Comparison, tolerance};
use crate::device::{Device, Dtype};
use crate::eager::PreTrained;
use crate::engine::{EngineKind, Outputs};
use crate::error::{Error, ErrorKind, Result};
use crate::example::{Example, ExampleMask};
use crate::load::LoadOptions;
use crate::memory::copied;
use crate::module::Module;
use crate::shapes::FixedShape;
use crate::tensor::Tensor;
use serde::Serialize;

/// The outputs of one run against their reference.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What was run, such as `shape 5x64`.
    pub case: String,
    /// What executed the module.
    pub engine: EngineKind,
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
    match checkpoint {
        Some(checkpoint) => PreTrained::from_checkpoint(checkpoint, &options),
        None => PreTrained::of_archive(module, archive, &options),
    }
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

/// Runs module and model on batches of rows of different lengths, up to the max, and on
/// masks of other forms: with holes, with a row of zeros, and none. A program of fixed
/// shapes runs on those, and on smaller ones.
pub fn against_model(module: &Module, model: &PreTrained) -> Result<Vec<Check>> {
    let reference = Reference::new(model)?;
    let (shapes, of_masks) = shapes(module, model);
    let cases = shapes.into_iter().map(|shape| (shape, ExampleMask::Padding));
    let masks = [ExampleMask::Holes, ExampleMask::EmptyRow, ExampleMask::None]
        .map(|mask| (of_masks.clone(), mask));
    cases.chain(masks).map(|(shape, mask)| reference.check(module, &shape, mask)).collect()
}

/// How many times its bound a result may be off where only a wrong file is looked for, not
/// the order in which sums were added. Weights that are large amplify that from layer to
/// layer: on a random model of 8 layers, of weights with a deviation of 0.2, it alone was 11
/// times the bound; a file that computes something else is off by thousands.
const SUMMATION_MARGIN: f64 = 100.;

/// Runs module and model on one batch of rows of different lengths.
///
/// # Errors
/// [`ErrorKind::Verification`] if they differ.
pub(crate) fn one_batch(module: &Module, model: &PreTrained) -> Result<()> {
    let fixed = module
        .metadata()
        .and_then(|metadata| metadata.shapes.fixed().last().map(|shape| shape.sizes().to_vec()));
    let length = model.config().max_length().min(16);
    let shape = fixed.unwrap_or_else(|| Example::shape(5, length, model.architecture()));
    let check = Reference::new(model)?.check(module, &shape, ExampleMask::Padding)?;
    // NaN is within no bound.
    let is_close = |output: &&Comparison| output.max_abs_error <= SUMMATION_MARGIN * output.bound;
    match check.outputs.iter().find(|output| !is_close(output)) {
        None => Ok(()),
        Some(output) => {
            let message = format!(
                "{} of {} differs from the model by {:.1e}, expected at most {:.1e}",
                output.output,
                check.case,
                output.max_abs_error,
                SUMMATION_MARGIN * output.bound
            );
            let place = format!("engine {}", check.engine);
            Err(Error::new(ErrorKind::Verification, message).at(place))
        }
    }
}

/// A model that modules are compared with.
struct Reference<'a> {
    model: &'a PreTrained,
    /// In half precision, the same weights in float32: what both round.
    exact: Option<PreTrained>,
}

impl<'a> Reference<'a> {
    fn new(model: &'a PreTrained) -> Result<Self> {
        let exact = (model.dtype() != Dtype::F32).then(|| model.in_float32()).transpose()?;
        Ok(Self { model, exact })
    }

    fn check(&self, module: &Module, shape: &[i64], mask: ExampleMask) -> Result<Check> {
        let example = Example::new(shape, mask, self.model.config())?;
        let note = match mask {
            ExampleMask::Padding => "",
            ExampleMask::Holes => ", holes in the mask",
            ExampleMask::EmptyRow => ", a row of zeros",
            ExampleMask::None => ", no mask",
        };
        let Example { input_ids, attention_mask, token_type_ids } = example;
        let inputs = Inputs::new(input_ids).token_type_ids(token_type_ids);
        let inputs = match &attention_mask {
            Some(mask) => inputs.attention_mask(mask.clone()),
            None => inputs,
        };
        let run = |model: &PreTrained| model.run(&inputs).map(Outputs::into_tensors);
        let own = run(self.model)?;
        let exact = self.exact.as_ref().map(run).transpose()?;
        let expected = own.into_iter().enumerate().map(|(i, (name, own))| match &exact {
            None => Expected { name, values: own, own: None },
            Some(exact) => Expected { name, values: exact[i].1.clone(), own: Some(own) },
        });
        let expected: Vec<_> = expected.collect();
        let outputs = module.run(&inputs)?;
        let sizes: Vec<_> = shape.iter().map(i64::to_string).collect();
        let case = format!("shape {}{note}", sizes.join("x"));
        compare(case, module, &outputs, &expected, attention_mask.as_ref())
    }
}

/// What an output should be.
struct Expected {
    name: String,
    values: Tensor,
    /// Of values in float32 for a module in half precision: what libtorch computes in that.
    own: Option<Tensor>,
}

/// The shapes of rows with padding, and one for other masks.
fn shapes(module: &Module, model: &PreTrained) -> (Vec<Vec<i64>>, Vec<i64>) {
    let fixed = module.metadata().map_or(&[][..], |metadata| metadata.shapes.fixed());
    let fixed = fixed.iter().map(FixedShape::sizes);
    if let Some(last) = fixed.clone().next_back() {
        let smaller = |shape: &[i64]| shape.iter().map(|size| (size * 2 / 3).max(1)).collect();
        let shapes = fixed.flat_map(|shape| [smaller(shape), shape.to_vec()]).collect();
        return (shapes, last.to_vec());
    }
    let longest = model.config().max_length();
    let mut lengths = [1, 3, 7, 64, longest].map(|length| length.min(longest)).to_vec();
    lengths.dedup();
    let shape = |batch| move |length: &i64| Example::shape(batch, *length, model.architecture());
    let shapes = lengths.iter().map(shape(1)).chain(lengths.iter().map(shape(5))).collect();
    (shapes, Example::shape(5, longest.min(64), model.architecture()))
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
    let mask = mask.map(|(_, mask)| mask.clone());
    let outputs = module.run_named(inputs)?;
    let expected = reference.iter().map(|(name, values)| {
        let (name, values) = (name.clone(), values.clone());
        Expected { name, values, own: None }
    });
    let case = "given inputs".to_owned();
    compare(case, module, &outputs, &expected.collect::<Vec<_>>(), mask.as_ref())
}

fn compare(
    case: String,
    module: &Module,
    outputs: &Outputs,
    reference: &[Expected],
    mask: Option<&Tensor>,
) -> Result<Check> {
    let tolerance = tolerance(module.dtype());
    // Without padding, nothing is computed where a token is masked.
    let mask = mask.filter(|_| module.engine() != EngineKind::TorchScript);
    let compared = reference.iter().map(|expected| {
        let name = &expected.name;
        let info = module.metadata().and_then(|m| m.outputs.iter().find(|o| o.name == *name));
        let per_token = info.is_some_and(|o| o.shape.get(1).is_some_and(|size| size == "S"));
        let masked = |values: &Tensor| match mask.filter(|_| per_token) {
            Some(mask) => at_tokens(values, mask),
            None => Ok(values.clone()),
        };
        let (found, values) = (masked(outputs.get(name)?)?, masked(&expected.values)?);
        let comparison = Comparison::new(name, &found, &values, tolerance)?;
        match &expected.own {
            Some(own) => {
                let own = Comparison::new(name, &masked(own)?, &values, tolerance)?;
                Ok(comparison.allowing_for(&own))
            }
            None => Ok(comparison),
        }
    });
    let outputs_compared = compared.collect::<Result<_>>()?;
    Ok(Check { case, engine: module.engine(), outputs: outputs_compared })
}

/// `values` `[B,S,..]`, with zeros where the mask has them; as they are, if that
/// is not their shape.
fn at_tokens(values: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let is_token = mask.to_device(Device::Cpu)?.to_i64s()?;
    let length = mask.shape().last().copied().unwrap_or(1).max(1);
    let shape = values.shape();
    if !shape.starts_with(&[is_token.len() / length, length]) {
        return Ok(values.clone());
    }
    let values = values.to_device(Device::Cpu)?;
    let mut bytes = copied(values.as_bytes()?)?;
    let size = bytes.len() / is_token.len().max(1);
    for (token, bytes) in is_token.iter().zip(bytes.chunks_exact_mut(size.max(1))) {
        if *token == 0 {
            bytes.fill(0);
        }
    }
    Tensor::from_bytes(values.element_type(), shape, &bytes)
}
