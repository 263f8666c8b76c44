//! A loaded model becomes a TorchScript program: any batch, any length, no
//! device and no dtype in its code, its weights real parameters.

mod fixed;
mod scan;

pub(crate) use scan::scan_code;

use crate::compare::{Comparison, tolerance};
use crate::error::{Error, ErrorKind, Result};
use crate::family::Dim;
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
    let example = Example::new(2, 3.min(model.config().max_length()), model)?;
    script.trace(
        UNMASKED,
        &[("input_ids", &example.input_ids), ("token_type_ids", &example.token_type_ids)],
        |x| returned(model.forward(ModelInputs::padded(&x[0], None, &x[1]))),
    )?;
    script.trace(
        MASKED,
        &[
            ("input_ids", &example.input_ids),
            ("attention_mask", &example.attention_mask),
            ("token_type_ids", &example.token_type_ids),
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
        let shape = Example::shape(batch, length.min(longest), model);
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
    let inputs = Example::of_shape(shape, model)?;
    let _unoptimized = Unoptimized::enter();
    let mut masks = vec![Some(&inputs.attention_mask)];
    masks.extend(unmasked.then_some(None));
    for mask in masks {
        let expected =
            model.forward(ModelInputs::padded(&inputs.input_ids, mask, &inputs.token_type_ids))?;
        let arguments = [
            Value::from(&inputs.input_ids),
            Value::from(mask),
            Value::from(&inputs.token_type_ids),
        ];
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

/// Inputs of a given shape with every kind of value in them: ids over the whole
/// vocabulary, rows of different lengths with padding at their ends, all token types.
/// The same each time.
pub(crate) struct Example {
    pub(crate) input_ids: Tensor,
    pub(crate) attention_mask: Tensor,
    pub(crate) token_type_ids: Tensor,
}

/// How many choices an example of multiple choice has.
const CHOICES: i64 = 3;

impl Example {
    pub(crate) fn new(batch: i64, length: i64, model: &PreTrained) -> Result<Self> {
        Self::of_shape(&Self::shape(batch, length, model), model)
    }

    /// The shape of an input of this batch and length.
    pub(crate) fn shape(batch: i64, length: i64, model: &PreTrained) -> Vec<i64> {
        match model.architecture().input_shape() {
            [Dim::Batch, Dim::Sequence] => vec![batch, length],
            _ => vec![batch, CHOICES, length],
        }
    }

    pub(crate) fn of_shape(shape: &[i64], model: &PreTrained) -> Result<Self> {
        let config = model.config();
        let length = shape.last().copied().unwrap_or(1);
        // Five lengths, from the whole row down to one token.
        let tokens = |row: i64| 1 + (length - 1) * (4 - row % 5) / 4;
        Ok(Self {
            // A prime far from any size walks through the vocabulary.
            input_ids: filled(shape, |row, column| {
                (row * 7919 + column * 104_729) % config.vocab_size()
            })?,
            attention_mask: filled(shape, |row, column| i64::from(column < tokens(row)))?,
            token_type_ids: filled(shape, |row, column| {
                (row + column * config.type_vocab_size() / length) % config.type_vocab_size()
            })?,
        })
    }

    /// The same with a mask in whose rows not only the ends are zeros.
    pub(crate) fn with_holes(self, shape: &[i64]) -> Result<Self> {
        let attention_mask = filled(shape, |row, column| i64::from((row + column) % 3 != 1))?;
        Ok(Self { attention_mask, ..self })
    }

    /// The same with a mask whose last row is zeros.
    pub(crate) fn with_empty_row(self) -> Result<Self> {
        let _ = self.attention_mask.f_flatten(0, -2)?.f_get(-1)?.f_zero_()?;
        Ok(self)
    }
}

/// An int64 tensor of a shape, by row and column.
fn filled(shape: &[i64], value: impl Fn(i64, i64) -> i64) -> Result<Tensor> {
    let length = shape.last().copied().unwrap_or(1);
    let count: i64 = shape.iter().product();
    let values: Vec<_> = (0..count).map(|i| value(i / length, i % length)).collect();
    Ok(Tensor::f_from_slice(&values)?.f_view(shape)?)
}
