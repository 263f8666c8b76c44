//! The TorchScript code of an archive, run by libtorch.

use super::batches::{by_padded_tokens, suitable_tokens};
use super::tensors::wanted_of_tensors;
use super::{BatchOutput, EachBatch, Engine, Outputs, Source, Want};
use crate::batch::{Batch, CheckedInputs};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{collect, filled};
use bertscript_kernels::{Solo, Team};
use std::sync::Arc;
use tch::Tensor;
use torchscript::{InferenceMode, Value};

/// Executes any archive by its own code.
#[derive(Debug)]
pub(super) struct ScriptEngine {
    source: Arc<Source>,
}

impl ScriptEngine {
    pub(super) fn new(source: Arc<Source>) -> Self {
        Self { source }
    }

    /// Calls `forward` on tensors of the module's device.
    fn forward(&self, named: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        Ok(call_forward(&self.source, named)?.into_tensors()?)
    }
}

impl Engine for ScriptEngine {
    fn run(&self, inputs: &CheckedInputs<'_>) -> Result<Outputs> {
        let given = inputs.given().named();
        let tensors: Vec<_> = given
            .map(|(name, tensor)| Ok((name, Tensor::try_from(tensor)?)))
            .collect::<Result<_>>()?;
        let named: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
        Outputs::of_tensors(self.forward(&named)?, &self.source.metadata()?.outputs)
    }

    fn forward(
        &self,
        batch: &Batch,
        want: &Want<'_>,
        _team: &dyn Team,
    ) -> Result<Vec<BatchOutput>> {
        let length = batch.max_length();
        let indices = || {
            let rows = batch.lengths().enumerate();
            rows.flat_map(|(row, tokens)| row * length..row * length + tokens)
        };
        // Of a token that is masked, any id will do.
        let padded = |values: &dyn Fn(usize) -> i64| -> Result<Tensor> {
            let mut all = filled(batch.len() * length, 0)?;
            indices().enumerate().for_each(|(token, index)| all[index] = values(token));
            Ok(Tensor::f_from_slice(&all)?.f_view([batch.len() as i64, length as i64])?)
        };
        let ids = padded(&|token| batch.input_ids()[token])?;
        let types = padded(&|token| batch.token_type_ids()[token])?;
        let mut named = vec![("input_ids", &ids), ("token_type_ids", &types)];
        // Without padding there is nothing to mask, and the code is faster so.
        let has_padding = batch.lengths().any(|tokens| tokens < length);
        let mask = padded(&|_| 1)?;
        if has_padding {
            named.push(("attention_mask", &mask));
        }
        let outputs = self.forward(&named)?;
        let infos = &self.source.metadata()?.outputs;
        let tokens = collect(indices().map(|index| index as i64))?;
        let tokens = Tensor::f_from_slice(&tokens)?.f_to_device(self.source.device.into())?;
        let rows = infos.iter().zip(outputs).map(|(info, output)| {
            Ok(match info.is_per_token() && info.shape.get(1).is_some_and(|size| size == "S") {
                false => output,
                true if has_padding => output.f_flatten(0, 1)?.f_index_select(0, &tokens)?,
                true => output.f_flatten(0, 1)?,
            })
        });
        wanted_of_tensors(&rows.collect::<Result<Vec<_>>>()?, batch, want)
    }

    fn for_each_batch(
        &self,
        lengths: &[usize],
        max_tokens: Option<usize>,
        each: &EachBatch<'_>,
    ) -> Result<()> {
        let suitable = suitable_tokens(self.source.device);
        let shapes = &self.source.metadata()?.shapes;
        let batches = by_padded_tokens(lengths, max_tokens.unwrap_or(suitable), shapes)?;
        batches.into_iter().try_for_each(|sequences| each(sequences, &Solo))
    }
}

impl Source {
    /// Calls `forward` of any archive on tensors under the names of its arguments.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a name that is not an argument, or an argument that is
    /// missing.
    pub(crate) fn call(&self, tensors: &[(String, crate::tensor::Tensor)]) -> Result<Outputs> {
        // Copies: a program may write to its inputs.
        let tensors: Vec<_> = tensors
            .iter()
            .map(|(name, tensor)| Ok((name, copied(&Tensor::try_from(tensor)?)?)))
            .collect::<Result<_>>()?;
        let named: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        Outputs::numbered(call_forward(self, &named)?)
    }
}

fn call_forward(source: &Source, named: &[(&str, &Tensor)]) -> Result<Value> {
    let invalid =
        |name: &str, message: &str| Err(Error::new(ErrorKind::InvalidInput, message).at(name));
    let arguments = &source.schema.arguments;
    let mut keywords: Vec<(&str, Value)> = Vec::new();
    for (name, tensor) in named {
        if !arguments.iter().any(|argument| argument.name == *name) {
            let names: Vec<_> = arguments.iter().map(|argument| argument.name.as_str()).collect();
            return invalid(name, &format!("unknown input, expected {}", names.join(", ")));
        }
        if keywords.iter().any(|(known, _)| known == name) {
            return invalid(name, "the input is given twice");
        }
        keywords.push((name, Value::Tensor(tensor.f_to_device(source.device.into())?)));
    }
    for argument in arguments.iter().filter(|argument| !argument.has_default) {
        if !keywords.iter().any(|(name, _)| *name == argument.name) {
            return invalid(&argument.name, "the input is missing");
        }
    }
    let _inference = InferenceMode::enter();
    Ok(source.script()?.call("forward", &[], &keywords)?)
}

impl Outputs {
    /// The value of any other program: a dict has names of its own, of a tuple
    /// or list each item is named by its index, `output.0` and so on. The tensors are
    /// copies, since the program may keep theirs and write to them.
    pub(super) fn numbered(value: Value) -> Result<Self> {
        let mut tensors = Vec::new();
        flatten("output", value, &mut tensors)?;
        Ok(Self { tensors })
    }
}

/// A tensor in memory of its own.
pub(super) fn copied(tensor: &Tensor) -> Result<Tensor> {
    let mut copy = tensor.f_empty_like()?;
    copy.f_copy_(tensor)?;
    Ok(copy)
}

fn flatten(
    name: &str,
    value: Value,
    tensors: &mut Vec<(String, crate::tensor::Tensor)>,
) -> Result<()> {
    match value {
        Value::Tensor(tensor) => {
            let copy = copied(&tensor).and_then(crate::tensor::Tensor::try_from);
            let tensor = copy.map_err(|error| error.at(name))?;
            tensors.push((name.to_owned(), tensor));
        }
        // An optional output that was not computed.
        Value::None => {}
        Value::Tuple(items) | Value::List(items) => {
            for (i, item) in items.into_iter().enumerate() {
                flatten(&format!("{name}.{i}"), item, tensors)?;
            }
        }
        Value::Dict(entries) => {
            for (key, item) in entries {
                let Value::String(key) = key else {
                    let message = "the program returns a dict with keys that are not strings";
                    return Err(Error::new(ErrorKind::Unsupported, message));
                };
                let inner = if name == "output" { key } else { format!("{name}.{key}") };
                flatten(&inner, item, tensors)?;
            }
        }
        other => {
            let message = format!("{name}: found {}, expected tensors", other.type_name());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    }
    Ok(())
}
