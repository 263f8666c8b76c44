//! An archive on a device, in a dtype: what engines are made from.

use super::native::PrepackedCache;
#[cfg(feature = "torch")]
use super::varlen::VarlenModel;
#[cfg(not(feature = "torch"))]
use super::{EngineKind, remote::RemoteModule};
use crate::archive::{Archive, ArchiveFile, Metadata};
use crate::batch::{CheckedInputs, Unpadded};
use crate::checkpoint::StateDict;
use crate::device::{Device, Dtype};
use crate::error::{Error, ErrorKind, Result};
use crate::family::model::ModelSpec;
use crate::tensor::Tensor;
use crate::weights::Weights;
use bertscript_kernels::Keys;
#[cfg(feature = "torch")]
use once_cell::sync::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;
#[cfg(not(feature = "torch"))]
use std::sync::{Mutex, Weak};
#[cfg(feature = "torch")]
use torchscript::ScriptModule;
use torchscript_reader::MethodSchema;

#[cfg(feature = "torch")]
mod program;
#[cfg(not(feature = "torch"))]
mod remote;

/// An archive on a device, in a dtype.
#[derive(Debug)]
pub(crate) struct Source {
    /// None of an archive of another program.
    pub(crate) archive: Option<Arc<Archive>>,
    /// What is mapped of an archive of this library that was loaded.
    file: Option<Arc<ArchiveFile>>,
    /// The code, on the device and in the dtype, which of a mapped archive is loaded when it
    /// is first wanted.
    #[cfg(feature = "torch")]
    script: OnceCell<ScriptModule>,
    /// The signature of `forward`.
    pub(crate) schema: MethodSchema,
    pub(crate) device: Device,
    pub(crate) dtype: Dtype,
    /// The prepacked weights of all modules of the same weights.
    pub(super) prepacked: Arc<PrepackedCache>,
    /// The model of the varlen engine, which is built when it is first wanted.
    #[cfg(feature = "torch")]
    pub(super) varlen: OnceCell<VarlenModel>,
    /// The program of somebody else.
    #[cfg(not(feature = "torch"))]
    program: Option<Arc<RemoteModule>>,
    /// The modules of the plug-in's that execute it.
    #[cfg(not(feature = "torch"))]
    remotes: Mutex<Vec<(EngineKind, Weak<RemoteModule>)>>,
}

impl Source {
    /// An archive of this library, of which nothing is loaded but data.
    pub(crate) fn of_file(
        archive: Archive,
        file: ArchiveFile,
        device: Device,
        dtype: Option<Dtype>,
    ) -> Result<Self> {
        let dtype = dtype.map_or_else(|| archive.metadata().dtype(), Ok)?;
        Ok(Self::mapped(Arc::new(archive), Arc::new(file), device, dtype))
    }

    fn mapped(archive: Arc<Archive>, file: Arc<ArchiveFile>, device: Device, dtype: Dtype) -> Self {
        Self {
            schema: archive.metadata().schema(),
            prepacked: PrepackedCache::of(&file, dtype),
            archive: Some(archive),
            file: Some(file),
            #[cfg(feature = "torch")]
            script: OnceCell::new(),
            device,
            dtype,
            #[cfg(feature = "torch")]
            varlen: OnceCell::new(),
            #[cfg(not(feature = "torch"))]
            program: None,
            #[cfg(not(feature = "torch"))]
            remotes: Mutex::default(),
        }
    }

    /// The same archive on another device or in another dtype.
    pub(crate) fn to(&self, device: Device, dtype: Dtype) -> Result<Self> {
        if let (Some(archive), Some(file)) = (&self.archive, &self.file) {
            return Ok(Self::mapped(Arc::clone(archive), Arc::clone(file), device, dtype));
        }
        self.program_to(device, dtype)
    }

    /// An archive of this library that was loaded.
    pub(crate) fn file(&self) -> Option<&ArchiveFile> {
        self.file.as_deref()
    }

    /// Drops the pages of mapped weights, which come back when they are read again.
    pub(super) fn release(&self) {
        self.file.iter().for_each(|file| file.release());
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
            crate::attention::Attention::Sdpa => Keys::None,
            crate::attention::Attention::Eager => Keys::Uniform,
        };
        let config = self.archive()?.config();
        inputs.unpad(keys_of_empty_rows, config.positions(), config.masked_tokens())
    }

    /// The parameters, by the names of the code's `state_dict`, on the device and in the
    /// dtype.
    pub(crate) fn parameters(&self) -> Result<Vec<(String, Tensor)>> {
        if self.file.is_none() {
            return self.program_parameters();
        }
        // Those of one storage and shape stay on one.
        let mut moved = HashMap::new();
        let named = self.mapped_parameters()?.into_iter().map(|(name, tensor)| {
            let storage = tensor.address().map(|address| (address, tensor.shape().to_vec()));
            let tensor = match moved.get(&storage) {
                Some(known) => Tensor::clone(known),
                None => tensor.to_device(self.device)?.to_dtype(self.dtype)?,
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
        let is_cast_later = self.file.is_some() && self.device == Device::Cpu;
        let parameters = if is_cast_later { self.mapped_parameters()? } else { self.parameters()? };
        let mut state = StateDict::default();
        for (name, tensor) in parameters {
            state.insert(name, tensor, "the archive");
        }
        Ok(Weights::new(state, self.dtype, None))
    }
}
