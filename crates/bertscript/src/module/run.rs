//! Running a module.

use super::Module;
use crate::batch::Inputs;
use crate::device::Device;
use crate::engine::Outputs;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{HEADROOM, check, filled};
use crate::process::enter;
use crate::tensor::Tensor;
use bertscript_plugin::CudaStream;
#[cfg(not(feature = "torch"))]
use bertscript_plugin::OnStream;
use bertscript_process::Entered;
#[cfg(feature = "torch")]
use torchscript::OnStream;

/// The max number of tokens of a warm-up: more would be work, not a rehearsal.
const MAX_WARM_UP_TOKENS: usize = 1 << 17;

impl Module {
    /// Runs the model.
    ///
    /// The inputs of an archive of this library are checked before libtorch
    /// sees them. All are moved to the module's device; the outputs stay there, and
    /// are complete when its stream is ([`Self::wait`]).
    ///
    /// By the engines that compute without padding, an output for each token is zero where
    /// the mask is.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] with the argument's name, what was found in
    /// it and the bound. The module stays usable.
    pub fn run(&self, inputs: &Inputs) -> Result<Outputs> {
        let _entered = self.enter()?;
        check(HEADROOM)?;
        match self.metadata() {
            Some(metadata) => self.engine.run(&inputs.checked(metadata)?),
            None => {
                let named = inputs.named().map(|(name, tensor)| (name.to_owned(), tensor.clone()));
                self.source.call(&named.collect::<Vec<_>>())
            }
        }
    }

    /// Runs the model on tensors under the names of `forward`'s arguments,
    /// which a third-party archive may choose freely.
    ///
    /// # Errors
    /// As [`Self::run`]; and for a name that is not an argument, or an argument
    /// that is missing.
    pub fn run_named(&self, tensors: Vec<(String, Tensor)>) -> Result<Outputs> {
        if self.archive().is_some() {
            return self.run(&Inputs::from_named(tensors)?);
        }
        let _entered = self.enter()?;
        self.source.call(&tensors)
    }

    /// Enters the library, if this process may use the module's device.
    pub(crate) fn enter(&self) -> Result<Entered> {
        let entered = enter()?;
        #[cfg(feature = "torch")]
        if self.device() != Device::Cpu {
            torchscript::check_cuda()?;
        }
        Ok(entered)
    }

    /// Has what `run` puts on the module's device put on a stream of the caller's, and does not
    /// wait for it: outputs are there when the stream is. Inputs in host memory, and inputs on the
    /// device, which are checked on the host, are waited for.
    ///
    /// # Errors
    /// Those of `run`.
    pub fn on_stream<T>(
        &self,
        stream: CudaStream,
        run: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<T> {
        let Device::Cuda(index) = self.device() else { return run(self) };
        let on_stream = OnStream::enter(index, stream);
        #[cfg(feature = "torch")]
        let on_stream = on_stream?;
        let found = run(self);
        drop(on_stream);
        found
    }

    /// Waits until the device has done what this thread put on its current stream.
    /// Outputs on a device may be passed on without; on the CPU there is nothing to
    /// wait for.
    ///
    /// # Errors
    /// [`ErrorKind::Torch`] with what failed on the device.
    pub fn wait(&self) -> Result<()> {
        self.source.wait()
    }

    /// How many shapes of small batches were captured as CUDA graphs, which are then
    /// launched at once; 0 where there are none by choice or on the CPU.
    ///
    /// # Errors
    /// Why they cannot be had here: the module runs without them.
    pub fn captured_graphs(&self) -> Result<usize> {
        self.engine.captured_graphs()
    }

    /// Runs the program on padding, so that what libtorch does at first calls,
    /// its memory and its optimised code, is done before the first real one.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a third-party archive, whose inputs
    /// are not known; those of [`Self::run`].
    pub fn warm_up(&self, batch: usize, length: usize, iterations: usize) -> Result<()> {
        let metadata = self.metadata().ok_or_else(|| {
            let message = "the inputs of a third-party archive are not known";
            Error::new(ErrorKind::Unsupported, message)
        })?;
        let choices = metadata.inputs.first().is_some_and(|input| input.shape.len() == 3);
        let shape = if choices { vec![batch, 2, length] } else { vec![batch, length] };
        let tokens = shape.iter().try_fold(1_usize, |tokens, size| {
            tokens.checked_mul(*size).filter(|tokens| (1..=MAX_WARM_UP_TOKENS).contains(tokens))
        });
        if tokens.is_none() {
            let message = format!(
                "found {batch} rows of {length}, expected 1 to {MAX_WARM_UP_TOKENS} tokens"
            );
            return Err(Error::new(ErrorKind::InvalidInput, message).at("batch"));
        }
        let tensor = |value: i64| -> Result<Tensor> {
            let tensor = Tensor::new(filled(shape.iter().product(), value)?, &shape[..])?;
            tensor.to_device(self.device())
        };
        let inputs = Inputs::new(tensor(0)?);
        let masked = Inputs::new(tensor(0)?).attention_mask(tensor(1)?);
        for _ in 0..iterations {
            self.run(&inputs)?;
            self.run(&masked)?;
        }
        Ok(())
    }
}
