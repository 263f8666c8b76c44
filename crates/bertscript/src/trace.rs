//! A loaded model becomes a TorchScript program: any batch, any length, no
//! device and no dtype in its code, its weights real parameters.

mod fixed;
mod scan;

pub(crate) use scan::scan_code;

use crate::compare::{Comparison, tolerance};
use crate::error::{Error, ErrorKind, Result};
use crate::example::{Example, ExampleMask};
use crate::models::{ModelInputs, PreTrained};
use crate::shapes::Shapes;
use tch::Tensor;
use torchscript::{ScriptModule, Unoptimized, Value};

/// The method of the trace without a mask.
const UNMASKED: &str = "_forward";
/// The method of the trace with a mask.
const MASKED: &str = "_forward_masked";

/// What a trace cannot express: optional arguments. The choice between the two
/// traces is made when the program runs, so a call without a mask does not pay
/// for one.
const FORWARD: &str = "
def forward(self, input_ids: Tensor, attention_mask: Optional[Tensor] = None, token_type_ids: Optional[Tensor] = None):
    if token_type_ids is None:
        token_types = torch.zeros_like(input_ids)
    else:
        token_types = token_type_ids
    if attention_mask is None:
        return self._forward(input_ids, token_types)
    else:
        return self._forward_masked(input_ids, attention_mask, token_types)
";

/// Traces a model, then verifies the result on shapes it was not traced with.
///
/// The program's method is `forward(input_ids, attention_mask=None,
/// token_type_ids=None)`, `[B,S]` each (of multiple choice `[B,C,S]`). It returns
/// a tensor, or a flat tuple in the order of [`PreTrained::outputs`].
///
/// For fixed shapes there is a trace for each. `forward` pads its inputs to the first
/// that holds them, with a mask that leaves the padding out, and cuts the outputs back;
/// what fits no shape is an error that names both.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for a shape that the model cannot have;
/// [`ErrorKind::Verification`] if the program differs from the model or holds a
/// constant that should be a parameter.
pub fn trace(model: &PreTrained, shapes: &Shapes) -> Result<ScriptModule> {
    let _entered = torchscript::enter()?;
    let script = record(model, shapes)?;
    verify(&script, model, shapes)?;
    Ok(script)
}

/// Traces a model; nothing is verified yet.
pub(crate) fn record(model: &PreTrained, shapes: &Shapes) -> Result<ScriptModule> {
    if let Shapes::Fixed(shapes) = shapes {
        return fixed::record(model, shapes);
    }
    let mut script = register(model)?;
    let shape = Example::shape(2, 3.min(model.config().max_length()), model.architecture());
    let [input_ids, attention_mask, token_type_ids] = &example(&shape, model)?;
    script.trace(
        UNMASKED,
        &[("input_ids", input_ids), ("token_type_ids", token_type_ids)],
        |x| returned(model.forward(ModelInputs::padded(&x[0], None, &x[1]))),
    )?;
    script.trace(
        MASKED,
        &[
            ("input_ids", input_ids),
            ("attention_mask", attention_mask),
            ("token_type_ids", token_type_ids),
        ],
        |x| returned(model.forward(ModelInputs::padded(&x[0], Some(&x[1]), &x[2]))),
    )?;
    script.define(FORWARD)?;
    script.eval()?;
    Ok(script)
}

/// Runs the program and the model on shapes that it was not traced with.
pub(crate) fn verify(script: &ScriptModule, model: &PreTrained, shapes: &Shapes) -> Result<()> {
    if let Shapes::Fixed(shapes) = shapes {
        return fixed::verify(script, model, shapes);
    }
    // Each forward of a large model costs: one shape verifies the unmasked trace,
    // and the maximum lengths, which the code treats as any, are left to verify.
    let longest = model.config().max_length().min(128);
    for (batch, length, unmasked) in [(1, 1, false), (3, 7, true), (1, longest, false)] {
        let shape = Example::shape(batch, length.min(longest), model.architecture());
        check_shape(script, model, &shape, unmasked)?;
    }
    Ok(())
}

/// An empty program with the model's parameters.
fn register(model: &PreTrained) -> Result<ScriptModule> {
    let mut script = ScriptModule::new(&model.architecture().name())?;
    for (name, tensor) in model.parameters() {
        script.register_parameter(name, tensor)?;
    }
    Ok(script)
}

/// One output as a tensor, several as a flat tuple.
fn returned(outputs: Result<Vec<Tensor>>) -> Result<Value> {
    let mut values: Vec<_> = outputs?.into_iter().map(Value::Tensor).collect();
    match values.len() {
        1 => Ok(values.swap_remove(0)),
        _ => Ok(Value::Tuple(values)),
    }
}

/// Compares program and model on inputs of a shape, with a mask and, if asked,
/// without, and looks for weights that became constants.
fn check_shape(
    script: &ScriptModule,
    model: &PreTrained,
    shape: &[i64],
    unmasked: bool,
) -> Result<()> {
    let failed = |message: String| Error::new(ErrorKind::Verification, message).at("trace");
    let baked = script.constants("forward")?.iter().map(|c| c.size()).find(|size| !size.is_empty());
    if let Some(shape) = baked {
        return Err(failed(format!("a tensor of shape {shape:?} became a constant of the code")));
    }
    let [input_ids, attention_mask, token_type_ids] = &example(shape, model)?;
    let _unoptimized = Unoptimized::enter();
    let mut masks = vec![Some(attention_mask)];
    masks.extend(unmasked.then_some(None));
    for mask in masks {
        let expected = model.forward(ModelInputs::padded(input_ids, mask, token_type_ids))?;
        let arguments = [Value::from(input_ids), Value::from(mask), Value::from(token_type_ids)];
        let found = script.call("forward", &arguments, &[])?.into_tensors()?;
        for ((output, found), expected) in model.outputs().iter().zip(&found).zip(&expected) {
            let [found, expected] = [found, expected]
                .map(|tensor| crate::tensor::Tensor::try_from(tensor.shallow_clone()));
            let comparison =
                Comparison::new(&output.name, &found?, &expected?, tolerance(model.dtype()))?;
            if !comparison.is_equal() {
                return Err(failed(format!(
                    "{} at shape {shape:?} differs from the model by {:.1e}, expected at most {:.1e}",
                    output.name, comparison.max_abs_error, comparison.bound
                )));
            }
        }
    }
    Ok(())
}

/// Ids, mask and token types of an example of a shape, as libtorch's tensors.
fn example(shape: &[i64], model: &PreTrained) -> Result<[Tensor; 3]> {
    let example = Example::new(shape, ExampleMask::Padding, model.config())?;
    let mask = example.attention_mask.as_ref().unwrap_or(&example.input_ids);
    Ok([
        Tensor::try_from(&example.input_ids)?,
        Tensor::try_from(mask)?,
        Tensor::try_from(&example.token_type_ids)?,
    ])
}
