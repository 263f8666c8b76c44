//! An archive on a device, in a dtype: what engines are made from.

use super::native::PrepackedCache;
use super::varlen::VarlenModel;
use crate::archive::{Archive, ArchiveFile, Metadata};
use crate::batch::{CheckedInputs, Unpadded};
use crate::checkpoint::StateDict;
use crate::device::Dtype;
use crate::error::{Error, ErrorKind, Result};
use crate::family::model::ModelSpec;
use crate::tensor::Tensor;
use crate::weights::Weights;
use bertscript_kernels::Keys;
use once_cell::sync::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;
use torchscript::{MethodSchema, NamedTensor, ScriptModule};

/// An archive on a device, in a dtype.
#[derive(Debug)]
pub(crate) struct Source {
    /// None of an archive of another program.
    pub(crate) archive: Option<Arc<Archive>>,
    /// What is mapped of an archive of this library that was loaded.
    file: Option<Arc<ArchiveFile>>,
    /// The code, on the device and in the dtype, which of a mapped archive is loaded when it
    /// is first wanted.
    script: OnceCell<ScriptModule>,
    /// The signature of `forward`.
    pub(crate) schema: MethodSchema,
    pub(crate) device: tch::Device,
    pub(crate) dtype: Dtype,
    /// The prepacked weights of all modules of the same weights.
    pub(super) prepacked: Arc<PrepackedCache>,
    /// The model of the varlen engine, which is built when it is first wanted.
    pub(super) varlen: OnceCell<VarlenModel>,
}

impl Source {
    /// An archive of this library, of which nothing is loaded but data.
    pub(crate) fn of_file(
        archive: Archive,
        file: ArchiveFile,
        device: tch::Device,
        dtype: Option<Dtype>,
    ) -> Result<Self> {
        let dtype = dtype.map_or_else(|| archive.metadata().dtype(), Ok)?;
        Ok(Self::mapped(Arc::new(archive), Arc::new(file), device, dtype))
    }

    fn mapped(
        archive: Arc<Archive>,
        file: Arc<ArchiveFile>,
        device: tch::Device,
        dtype: Dtype,
    ) -> Self {
        Self {
            schema: file.schema().clone(),
            prepacked: PrepackedCache::of(&file, dtype),
            archive: Some(archive),
            file: Some(file),
            script: OnceCell::new(),
            device,
            dtype,
            varlen: OnceCell::new(),
        }
    }

    /// Code that was just traced, or that of another program, which is on the device.
    ///
    /// # Errors
    /// [`ErrorKind::Archive`] if it has no `forward`.
    pub(crate) fn of_script(
        mut script: ScriptModule,
        archive: Option<Archive>,
        device: tch::Device,
        dtype: Option<Dtype>,
    ) -> Result<Self> {
        if !script.has_method("forward")? {
            return Err(Error::new(ErrorKind::Archive, "the archive has no method `forward`"));
        }
        let stored = match &archive {
            Some(archive) => archive.metadata().dtype()?,
            None => stored_dtype(&script)?,
        };
        let dtype = dtype.unwrap_or(stored);
        if dtype != stored {
            script.to(None, Some(dtype.kind()))?;
        }
        script.eval()?;
        let schema = script.schema("forward")?;
        Self::over(script, schema, archive.map(Arc::new), (device, dtype))
    }

    fn over(
        script: ScriptModule,
        schema: MethodSchema,
        archive: Option<Arc<Archive>>,
        (device, dtype): (tch::Device, Dtype),
    ) -> Result<Self> {
        let source = Self {
            archive,
            file: None,
            script: OnceCell::with_value(script),
            schema,
            device,
            dtype,
            prepacked: Arc::default(),
            varlen: OnceCell::new(),
        };
        // Any stream may run it, not only the one that its weights came by.
        source.wait()?;
        Ok(source)
    }

    /// The same archive on another device or in another dtype.
    pub(crate) fn to(&self, device: tch::Device, dtype: Dtype) -> Result<Self> {
        if let (Some(archive), Some(file)) = (&self.archive, &self.file) {
            return Ok(Self::mapped(Arc::clone(archive), Arc::clone(file), device, dtype));
        }
        let mut script = self.script()?.try_clone()?;
        script.to(Some(device), Some(dtype.kind()))?;
        Self::over(script, self.schema.clone(), self.archive.clone(), (device, dtype))
    }

    /// The code, on the device and in the dtype.
    pub(crate) fn script(&self) -> Result<&ScriptModule> {
        self.script.get_or_try_init(|| {
            let Some(file) = &self.file else {
                return Err(Error::new(ErrorKind::Archive, "the archive has no code"));
            };
            let mut script = file.load_script()?;
            script.to(Some(self.device), Some(self.dtype.kind()))?;
            script.eval()?;
            self.wait()?;
            Ok(script)
        })
    }

    /// Drops the pages of mapped weights, which come back when they are read again.
    pub(super) fn release(&self) {
        self.file.iter().for_each(|file| file.release());
    }

    /// Waits until the device has done what this thread put on its current stream.
    ///
    /// # Errors
    /// [`ErrorKind::Torch`] with what failed on the device.
    pub(crate) fn wait(&self) -> Result<()> {
        match self.device {
            tch::Device::Cuda(index) => Ok(torchscript::cuda_synchronize(index)?),
            _ => Ok(()),
        }
    }

    /// The archive, which engines other than TorchScript need.
    pub(super) fn archive(&self) -> Result<&Archive> {
        self.archive.as_deref().ok_or_else(|| {
            let message = "the archive was not exported by bertscript";
            Error::new(ErrorKind::Unsupported, message)
        })
    }

    pub(super) fn metadata(&self) -> Result<&Metadata> {
        Ok(self.archive()?.metadata())
    }

    /// The model, with the sizes of the archive's configuration.
    pub(super) fn spec(&self) -> Result<ModelSpec> {
        let archive = self.archive()?;
        archive.config().model(archive.metadata().architecture()?)
    }

    /// Inputs without padding. The tokens of a row whose mask is all zero attend to what they
    /// attend to in the archive's code.
    pub(super) fn unpad(&self, inputs: &CheckedInputs<'_>) -> Result<Unpadded> {
        let keys_of_empty_rows = match self.metadata()?.attention.parse()? {
            crate::nn::Attention::Sdpa => Keys::None,
            crate::nn::Attention::Eager => Keys::Uniform,
        };
        let config = self.archive()?.config();
        inputs.unpad(keys_of_empty_rows, config.positions(), config.masked_tokens())
    }

    /// The parameters, by the names of the code's `state_dict`, on the device and in the
    /// dtype.
    pub(crate) fn parameters(&self) -> Result<Vec<(String, Tensor)>> {
        if self.file.is_none() {
            let named = self.script()?.named_tensors()?.into_iter();
            let named = named.filter(|named| named.is_parameter);
            return named
                .map(|NamedTensor { name, tensor, .. }| Ok((name, tensor.try_into()?)))
                .collect();
        }
        // Those of one storage stay on one.
        let mut moved = HashMap::new();
        let named = self.mapped_parameters()?.into_iter().map(|(name, tensor)| {
            let storage = tensor.address();
            let tensor = match moved.get(&storage) {
                Some(known) => Tensor::clone(known),
                None => tensor.to_device(self.device.into())?.to_dtype(self.dtype)?,
            };
            if storage.is_some() {
                moved.insert(storage, tensor.clone());
            }
            Ok((name, tensor))
        });
        named.collect()
    }

    /// The parameters as the archive has them.
    fn mapped_parameters(&self) -> Result<Vec<(String, Tensor)>> {
        self.file.as_ref().map_or(Ok(Vec::new()), |file| file.parameters())
    }

    /// The weights for an engine, which takes all of them.
    pub(super) fn weights(&self) -> Result<Weights> {
        // On the CPU, each weight is cast when it is taken, not all of them at once.
        let is_cast_later = self.file.is_some() && self.device == tch::Device::Cpu;
        let parameters = if is_cast_later { self.mapped_parameters()? } else { self.parameters()? };
        let mut state = StateDict::default();
        for (name, tensor) in parameters {
            state.insert(name, tensor, "the archive");
        }
        Ok(Weights::new(state, self.dtype, None))
    }
}

/// The dtype of a script's first floating-point weight; float32 without any.
fn stored_dtype(script: &ScriptModule) -> Result<Dtype> {
    let tensors = script.named_tensors()?;
    let kinds = tensors.iter().map(|named| named.tensor.f_kind());
    let kinds = kinds.collect::<Result<Vec<_>, _>>()?;
    Ok(kinds.into_iter().find_map(Dtype::from_kind).unwrap_or(Dtype::F32))
}
