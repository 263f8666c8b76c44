//! Devices and dtypes of libtorch.

use super::{CudaDevice, Device, Dtype};
use crate::error::{Error, ErrorKind, Result};
use bertscript_plugin::TORCH_VERSION;
use tch::Kind;

impl Device {
    /// The same, once it is certain that it is there.
    ///
    /// # Errors
    /// Those of [`Self::resolve`].
    pub fn checked(self) -> Result<Self> {
        self.resolve().map(|_| self)
    }

    /// The device of libtorch, once it is certain that it is there.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] with what is missing: the library, the driver, or
    /// a device of this index.
    pub fn resolve(self) -> Result<tch::Device> {
        match self {
            Self::Cpu => Ok(tch::Device::Cpu),
            Self::Cuda(index) => {
                let (count, reason) = torchscript::cuda_device_count()?;
                let message = if count == 0 {
                    format!("no CUDA device is available: {reason}")
                } else if index >= count {
                    format!("there are {count} CUDA devices, 0 to {}", count - 1)
                } else {
                    return Ok(tch::Device::Cuda(index));
                };
                Err(Error::new(ErrorKind::Device, message).at(self.to_string()))
            }
        }
    }
}

impl From<tch::Device> for Device {
    fn from(device: tch::Device) -> Self {
        match device {
            tch::Device::Cuda(index) => Self::Cuda(index),
            _ => Self::Cpu,
        }
    }
}

impl From<Device> for tch::Device {
    fn from(device: Device) -> Self {
        match device {
            Device::Cpu => Self::Cpu,
            Device::Cuda(index) => Self::Cuda(index),
        }
    }
}

impl Dtype {
    /// tch's name.
    pub fn kind(self) -> Kind {
        self.element_type().kind()
    }

    /// The dtype of a tensor's kind, if it is one of these.
    pub fn from_kind(kind: Kind) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.kind() == kind)
    }
}

/// The CUDA devices, and why there is none, if so.
pub(crate) fn cuda_devices() -> Result<(Vec<CudaDevice>, Option<String>)> {
    let (count, reason) = torchscript::cuda_device_count()?;
    let devices = (0..count).map(|index| {
        let found = torchscript::cuda_device(index)?;
        let (major, minor) = found.compute_capability;
        Ok(CudaDevice {
            device: Device::Cuda(index).to_string(),
            name: found.name,
            total_memory: found.total_memory,
            compute_capability: format!("{major}.{minor}"),
        })
    });
    Ok((devices.collect::<Result<_>>()?, Some(reason).filter(|reason| !reason.is_empty())))
}

/// Allows products of float32 on CUDA devices to round their inputs to TF32, or forbids it, as
/// libtorch does by itself. It holds for the whole process, its other uses of libtorch included.
pub fn allow_tf32(allowed: bool) -> Result<()> {
    Ok(torchscript::allow_tf32(allowed)?)
}

/// Loads what requires libtorch, where it is not linked and not loaded yet, and looks whether the
/// libtorch of the process is the one that it is for.
///
/// # Errors
/// [`ErrorKind::TorchUnavailable`] with what is missing, or both versions.
pub fn load_torch() -> Result<()> {
    let loaded = torchscript::loaded_torch_version().map(|part| part.to_string()).join(".");
    match loaded == TORCH_VERSION {
        true => Ok(()),
        false => {
            let message =
                format!("the process has loaded libtorch {loaded}, expected {TORCH_VERSION}");
            Err(Error::new(ErrorKind::TorchUnavailable, message))
        }
    }
}
