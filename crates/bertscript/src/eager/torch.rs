//! Models of libtorch's.

use crate::archive::Archive;
use crate::batch::Inputs;
use crate::checkpoint::StateDict;
use crate::device::Device;
use crate::engine::Outputs;
use crate::error::{Error, ErrorKind, Result};
use crate::load::LoadOptions;
use crate::models::{ModelInputs, PreTrained};
use crate::module::Module;
use tch::Tensor;
use torchscript::InferenceMode;

impl PreTrained {
    /// The model that an archive of this library was made of, built from its weights.
    ///
    /// # Errors
    /// Those of [`Self::from_state_dict`].
    pub(crate) fn of_archive(
        module: &Module,
        archive: &Archive,
        options: &LoadOptions,
    ) -> Result<Self> {
        let mut state = StateDict::default();
        for (name, tensor) in module.parameters()? {
            state.insert(name, tensor.to_device(Device::Cpu)?, "the archive");
        }
        let architecture = archive.metadata().architecture()?;
        Self::from_state_dict(architecture, archive.config().clone(), state, options)
    }

    /// Runs the model as it is, operator by operator, without TorchScript. Without a mask, all
    /// tokens take part; without token types, all are of type 0. The outputs come in the order
    /// of [`Self::outputs`].
    ///
    /// It is what a program is held against: nothing is checked before libtorch
    /// sees it.
    pub fn run(&self, inputs: &Inputs) -> Result<Outputs> {
        let _entered = torchscript::enter()?;
        let _inference = InferenceMode::enter();
        let (mut input_ids, mut attention_mask, mut token_type_ids) = (None, None, None);
        for (name, tensor) in inputs.named() {
            let slot = match name {
                "input_ids" => &mut input_ids,
                "attention_mask" => &mut attention_mask,
                _ => &mut token_type_ids,
            };
            *slot = Some(Tensor::try_from(tensor)?);
        }
        let none = || Error::new(ErrorKind::InvalidInput, "the input is missing").at("input_ids");
        let input_ids = input_ids.ok_or_else(none)?;
        let token_type_ids = token_type_ids.map_or_else(|| input_ids.f_zeros_like(), Ok)?;
        let inputs = ModelInputs::padded(&input_ids, attention_mask.as_ref(), &token_type_ids);
        let found = self.forward(inputs)?.into_iter();
        let names = self.outputs().into_iter().map(|output| output.name);
        let tensors = names.zip(found).map(|(name, tensor)| Ok((name, tensor.try_into()?)));
        Ok(Outputs::of(tensors.collect::<Result<_>>()?))
    }
}
