//! Running a module: without padding, or by the program in the file.

use super::{Inputs, Module, Outputs};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{HEADROOM, check};
use tch::Tensor;
use torchscript::{Entered, InferenceMode, Value};

/// Nobody warms up with more than this: it would be work, not a rehearsal.
const MAX_WARM_UP_TOKENS: i64 = 1 << 17;

impl Module {
    /// Runs the model.
    ///
    /// The inputs of an archive of this library are checked before libtorch
    /// sees them. All are moved to the module's device; the outputs stay there, and
    /// are complete when its stream is ([`Self::wait`]).
    ///
    /// By a packed plan, an output for each token is zero where a row's mask
    /// ends in zeros. A mask of another form, such as one with a hole, is left to
    /// the program in the file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] with the argument's name, what was found in
    /// it and the bound. The module stays usable.
    pub fn run(&self, inputs: &Inputs) -> Result<Outputs> {
        let _entered = self.enter()?;
        check(HEADROOM)?;
        if let Some(metadata) = self.metadata() {
            let host = inputs.on_host()?;
            host.check(metadata)?;
            if let Some(ragged) = self.ragged()?
                && let Some(rows) = host.pack()?
            {
                let shape = inputs.shape();
                let length = shape.last().map_or(0, |length| *length as usize);
                return Outputs::rows(ragged.forward(&rows, length)?, &metadata.outputs, &shape);
            }
            if let Some(packed) = self.packed()?
                && let Some(rows) = host.pack()?
            {
                let outputs = packed.forward(&rows)?;
                let (names, shape) = (&metadata.outputs, inputs.shape());
                return Outputs::padded(
                    outputs,
                    names,
                    &shape,
                    &rows.lengths,
                    self.dtype,
                    self.plan,
                );
            }
        }
        let named = [
            ("input_ids", Some(&inputs.input_ids)),
            ("attention_mask", inputs.attention_mask.as_ref()),
            ("token_type_ids", inputs.token_type_ids.as_ref()),
        ];
        self.call(named.into_iter().filter_map(|(name, tensor)| Some((name, tensor?))))
    }

    /// Runs the model on tensors under the names of `forward`'s arguments,
    /// which a program of somebody else may choose freely.
    ///
    /// # Errors
    /// As [`Self::run`]; and for a name that is not an argument, or an argument
    /// that is missing.
    pub fn run_named(&self, tensors: Vec<(String, Tensor)>) -> Result<Outputs> {
        let _entered = self.enter()?;
        if self.archive.is_some() {
            return self.run(&Inputs::from_named(tensors)?);
        }
        self.call(tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)))
    }

    /// Enters the library, if this process may use the module's device.
    fn enter(&self) -> Result<Entered> {
        let entered = torchscript::enter()?;
        if let tch::Device::Cuda(_) = self.device {
            torchscript::check_cuda()?;
        }
        Ok(entered)
    }

    fn call<'a>(&self, tensors: impl Iterator<Item = (&'a str, &'a Tensor)>) -> Result<Outputs> {
        let arguments = &self.schema.arguments;
        let mut keywords = Vec::new();
        for (name, tensor) in tensors {
            if !arguments.iter().any(|argument| argument.name == name) {
                let names: Vec<_> =
                    arguments.iter().map(|argument| argument.name.as_str()).collect();
                let message = format!("unknown input, expected {}", names.join(", "));
                return Err(Error::new(ErrorKind::InvalidInput, message).at(name));
            }
            if keywords.iter().any(|(known, _)| *known == name) {
                let message = "the input is given twice";
                return Err(Error::new(ErrorKind::InvalidInput, message).at(name));
            }
            keywords.push((name, Value::Tensor(tensor.f_to_device(self.device)?)));
        }
        for argument in arguments.iter().filter(|argument| !argument.has_default) {
            if !keywords.iter().any(|(name, _)| *name == argument.name) {
                let message = "the input is missing";
                return Err(Error::new(ErrorKind::InvalidInput, message).at(&argument.name));
            }
        }
        let _inference = InferenceMode::enter();
        let value = self.script.call("forward", &[], &keywords)?;
        match self.metadata() {
            Some(metadata) => Outputs::named(value, &metadata.outputs),
            None => Outputs::numbered(value),
        }
    }

    /// Waits until the device has done what this thread put on its current stream.
    /// Outputs on a device may be passed on without; on the CPU there is nothing to
    /// wait for.
    ///
    /// # Errors
    /// [`ErrorKind::Torch`] with what failed on the device.
    pub fn wait(&self) -> Result<()> {
        match self.device {
            tch::Device::Cuda(index) => Ok(torchscript::cuda_synchronize(index)?),
            _ => Ok(()),
        }
    }

    /// Runs the program on padding, so that what libtorch does at first calls,
    /// its memory and its optimised code, is done before the first real one.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a program of somebody else, whose inputs
    /// are not known; those of [`Self::run`].
    pub fn warm_up(&self, batch: i64, length: i64, iterations: usize) -> Result<()> {
        let metadata = self.metadata().ok_or_else(|| {
            let message = "the inputs of a program of somebody else are not known";
            Error::new(ErrorKind::Unsupported, message)
        })?;
        let choices = metadata.inputs.first().is_some_and(|input| input.shape.len() == 3);
        let shape = if choices { vec![batch, 2, length] } else { vec![batch, length] };
        let tokens = shape.iter().try_fold(1_i64, |tokens, size| {
            tokens.checked_mul(*size).filter(|tokens| (1..=MAX_WARM_UP_TOKENS).contains(tokens))
        });
        if tokens.is_none() {
            let message = format!(
                "found {batch} rows of {length}, expected 1 to {MAX_WARM_UP_TOKENS} tokens"
            );
            return Err(Error::new(ErrorKind::InvalidInput, message).at("batch"));
        }
        let ids = Tensor::f_zeros(&shape, (tch::Kind::Int64, self.device))?;
        for _ in 0..iterations {
            self.run(&Inputs::new(ids.shallow_clone()))?;
            let mask = ids.f_ones_like()?;
            self.run(&Inputs::new(ids.shallow_clone()).attention_mask(mask))?;
        }
        Ok(())
    }
}
