//! Devices of the plug-in for libtorch.

use super::{CudaDevice, Device};
use crate::error::{ErrorKind, Result};
use crate::plugin::{Request, ask};

impl Device {
    /// The same, once it is certain that it is there.
    ///
    /// # Errors
    /// [`ErrorKind::TorchUnavailable`] without the plug-in, [`ErrorKind::Device`] with what is
    /// missing.
    pub(crate) fn checked(self) -> Result<Self> {
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
