//! Tensors on a device, which the plug-in for libtorch moves.

use super::Tensor;
use crate::device::{Device, Dtype};
use crate::error::Result;
use crate::plugin::{Request, ask};
use bertscript_plugin::{ManagedTensor, Place};
use std::sync::Arc;

/// Memory of a CUDA device, which the plug-in's libtorch has.
#[derive(Clone)]
pub(super) struct DeviceMemory(Arc<ManagedTensor>);

impl DeviceMemory {
    pub(super) fn device(&self) -> Device {
        match self.0.place() {
            Place::Host => Device::Cpu,
            Place::Cuda(index) => Device::Cuda(index),
        }
    }

    pub(super) fn address(&self) -> usize {
        self.0.address()
    }

    /// For another library.
    pub(super) fn managed(&self) -> Result<ManagedTensor> {
        Ok(self.0.share())
    }

    /// Of another library.
    pub(super) fn from_managed(tensor: ManagedTensor) -> Result<Self> {
        Ok(Self(Arc::new(tensor)))
    }
}

impl Tensor {
    /// The same elements on another device.
    pub(super) fn moved(&self, device: Device) -> Result<Self> {
        let request = Request::ToDevice { device: device.to_string() };
        Self::from_managed(ask(&device.to_string(), &request, vec![self.to_dlpack()?])?.tensor()?)
    }

    /// Elements of a tensor of one dimension, on the device that they are on, that lie `strides`
    /// apart in each of `shape`.
    pub(super) fn gathered_on_device(&self, shape: Vec<usize>, strides: &[usize]) -> Result<Self> {
        let request = Request::Gather { shape, strides: strides.to_vec() };
        let device = self.device().to_string();
        Self::from_managed(ask(&device, &request, vec![self.to_dlpack()?])?.tensor()?)
    }

    /// The same elements, rounded to a dtype, on the device that they are on.
    pub(super) fn cast_on_device(&self, dtype: Dtype) -> Result<Self> {
        let request = Request::ToDtype { dtype: dtype.name().to_owned() };
        Self::from_managed(ask(dtype.name(), &request, vec![self.to_dlpack()?])?.tensor()?)
    }
}
