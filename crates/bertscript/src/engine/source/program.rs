//! The TorchScript code of an archive, and archives that are nothing else.

use super::Source;
use crate::archive::Archive;
use crate::device::{Device, Dtype};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Tensor;
use once_cell::sync::OnceCell;
use std::fs::File;
use std::sync::Arc;
use torchscript::{NamedTensor, ScriptModule};
use torchscript_reader::MethodSchema;

impl Source {
    /// The program of somebody else in a file.
    pub(crate) fn of_file_of_others(
        file: &File,
        device: Device,
        dtype: Option<Dtype>,
    ) -> Result<Self> {
        let script = ScriptModule::load_file(file, Some(device.into()))?;
        Self::of_script(script, None, device, dtype)
    }

    /// The program of somebody else in memory.
    pub(crate) fn of_bytes_of_others(
        bytes: &[u8],
        device: Device,
        dtype: Option<Dtype>,
    ) -> Result<Self> {
        let script = ScriptModule::load_bytes(bytes, Some(device.into()))?;
        Self::of_script(script, None, device, dtype)
    }

    /// Code that was just traced, or that of another program, which is on the device.
    ///
    /// # Errors
    /// [`ErrorKind::Archive`] if it has no `forward`.
    pub(crate) fn of_script(
        mut script: ScriptModule,
        archive: Option<Archive>,
        device: Device,
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
        (device, dtype): (Device, Dtype),
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

    /// The code, on the device and in the dtype.
    pub(crate) fn script(&self) -> Result<&ScriptModule> {
        self.script.get_or_try_init(|| {
            let Some(file) = &self.file else {
                return Err(Error::new(ErrorKind::Archive, "the archive has no code"));
            };
            let mut script = file.load_script()?;
            script.to(Some(self.device.into()), Some(self.dtype.kind()))?;
            script.eval()?;
            self.wait()?;
            Ok(script)
        })
    }

    /// Waits until the device has done what this thread put on its current stream.
    ///
    /// # Errors
    /// [`ErrorKind::Torch`] with what failed on the device.
    pub(crate) fn wait(&self) -> Result<()> {
        match self.device {
            Device::Cuda(index) => Ok(torchscript::cuda_synchronize(index)?),
            _ => Ok(()),
        }
    }

    /// Of code that is not mapped: the same on another device or in another dtype.
    pub(super) fn program_to(&self, device: Device, dtype: Dtype) -> Result<Self> {
        let mut script = self.script()?.try_clone()?;
        script.to(Some(device.into()), Some(dtype.kind()))?;
        Self::over(script, self.schema.clone(), self.archive.clone(), (device, dtype))
    }

    /// Of code that is not mapped: the parameters.
    pub(super) fn program_parameters(&self) -> Result<Vec<(String, Tensor)>> {
        let named = self.script()?.named_tensors()?.into_iter();
        let named = named.filter(|named| named.is_parameter);
        named.map(|NamedTensor { name, tensor, .. }| Ok((name, tensor.try_into()?))).collect()
    }
}

/// The dtype of a script's first floating-point weight; float32 without any.
fn stored_dtype(script: &ScriptModule) -> Result<Dtype> {
    let tensors = script.named_tensors()?;
    let kinds = tensors.iter().map(|named| named.tensor.f_kind());
    let kinds = kinds.collect::<Result<Vec<_>, _>>()?;
    Ok(kinds.into_iter().find_map(Dtype::from_kind).unwrap_or(Dtype::F32))
}
