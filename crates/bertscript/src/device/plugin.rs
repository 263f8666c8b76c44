//! Devices of the plug-in for libtorch.

use super::{CudaDevice, Device};
use crate::error::{ErrorKind, Result};
use crate::plugin::{Request, ask, forbid_tf32};

impl Device {
    /// The same, once it is certain that it is there.
    ///
    /// # Errors
    /// [`ErrorKind::TorchUnavailable`] without the plug-in, [`ErrorKind::Device`] with what is
    /// missing.
    pub fn checked(self) -> Result<Self> {
        match self {
            Self::Cpu => Ok(self),
            Self::Cuda(_) => {
                let device = self.to_string();
                let request = Request::CheckDevice { device: device.clone() };
                ask(&device, &request, Vec::new()).map(|_| self)
            }
        }
    }
}

/// The CUDA devices, and why there is none, if so.
pub(super) fn cuda_devices() -> Result<(Vec<CudaDevice>, Option<String>)> {
    match ask("CUDA", &Request::Devices, Vec::new()) {
        Ok(answered) => answered.value(),
        Err(error) if error.kind() == ErrorKind::TorchUnavailable => {
            Ok((Vec::new(), Some(error.to_string())))
        }
        Err(error) => Err(error),
    }
}

/// Allows products of float32 on CUDA devices to round their inputs to TF32, or forbids it, as
/// libtorch does by itself. It holds for the whole process, its other uses of libtorch included.
pub fn allow_tf32(allowed: bool) -> Result<()> {
    match allowed {
        true => ask("TF32", &Request::AllowTf32 { allowed }, Vec::new()).map(drop),
        false => forbid_tf32(),
    }
}

/// Loads what requires libtorch, where it is not linked and not loaded yet, and looks whether the
/// libtorch of the process is the one that it is for.
///
/// # Errors
/// [`ErrorKind::TorchUnavailable`] with what is missing, or both versions.
pub fn load_torch() -> Result<()> {
    ask("this call", &Request::CheckDevice { device: Device::Cpu.to_string() }, Vec::new())
        .map(drop)
}
