//! From and to tensors of tch, over the same memory.

use super::{ElementType, HostMemory, Memory, Tensor};
use crate::device::{Device, Dtype};
use crate::error::{Error, ErrorKind, Result};
#[cfg(test)]
use crate::memory::filled;
use bertscript_plugin::ManagedTensor;
use std::sync::Arc;
use torchscript::{SharedTensor, dtype_name, tensor_over};

/// Memory of a CUDA device, which libtorch has.
#[derive(Clone)]
pub(super) struct DeviceMemory(Arc<SharedTensor>);

impl DeviceMemory {
    pub(super) fn device(&self) -> Device {
        self.0.device().into()
    }

    pub(super) fn address(&self) -> usize {
        self.0.get().data_ptr().addr()
    }

    /// For another library.
    pub(super) fn managed(&self) -> Result<ManagedTensor> {
        Ok(torchscript::to_managed(&self.0.get())?)
    }

    /// Of another library.
    pub(super) fn from_managed(tensor: ManagedTensor) -> Result<Self> {
        Ok(Self(Arc::new(SharedTensor::new(torchscript::from_managed(tensor)?))))
    }
}

impl Tensor {
    /// The same elements on another device.
    pub(super) fn moved(&self, device: Device) -> Result<Self> {
        tch::Tensor::try_from(self)?.f_to_device(device.resolve()?)?.try_into()
    }

    /// Elements of a tensor of one dimension, on the device that they are on, that lie `strides`
    /// apart in each of `shape`.
    pub(super) fn gathered_on_device(&self, shape: Vec<usize>, strides: &[usize]) -> Result<Self> {
        let [shape, strides] = [&shape[..], strides]
            .map(|sizes| sizes.iter().map(|size| *size as i64).collect::<Vec<_>>());
        tch::Tensor::try_from(self)?.f_as_strided(&shape, &strides, 0)?.try_into()
    }

    /// The same elements, rounded to a dtype, on the device that they are on.
    pub(super) fn cast_on_device(&self, dtype: Dtype) -> Result<Self> {
        tch::Tensor::try_from(self)?.f_to_kind(dtype.kind())?.try_into()
    }
}

/// A tensor over the same memory, or over a copy if it is not contiguous. No other handle
/// of libtorch may write to it from then on.
impl TryFrom<tch::Tensor> for Tensor {
    type Error = Error;

    fn try_from(tensor: tch::Tensor) -> Result<Self> {
        let unsupported = |message| Error::new(ErrorKind::Unsupported, message).at("tensor");
        let kind = tensor.f_kind()?;
        let element_type = ElementType::from_kind(kind).ok_or_else(|| {
            let known: Vec<_> = ElementType::ALL.iter().map(|known| known.name()).collect();
            let (found, expected) = (dtype_name(kind), known.join(", "));
            unsupported(format!("found elements of {found}, expected {expected}"))
        })?;
        let tensor = tensor.f_contiguous()?;
        let shape = tensor.size().into_iter().map(|size| size as usize).collect();
        let memory = match tensor.device() {
            tch::Device::Cpu => Memory::Host(Arc::new(SharedTensor::new(tensor).into_bytes()?)),
            tch::Device::Cuda(_) => {
                Memory::Device(DeviceMemory(Arc::new(SharedTensor::new(tensor))))
            }
            device => {
                let message = format!("found a tensor on {device:?}, expected cpu or cuda");
                return Err(unsupported(message));
            }
        };
        Ok(Self { element_type, shape, memory })
    }
}

/// A tensor of libtorch over the same memory: nothing may write to it.
impl TryFrom<&Tensor> for tch::Tensor {
    type Error = Error;

    fn try_from(tensor: &Tensor) -> Result<Self> {
        match &tensor.memory {
            Memory::Device(memory) => Ok(memory.0.get()),
            Memory::Host(memory) => {
                let shape: Vec<_> = tensor.shape.iter().map(|size| *size as i64).collect();
                let memory = Shared(Arc::clone(memory));
                Ok(tensor_over(memory, &shape, tensor.element_type.kind())?)
            }
        }
    }
}

struct Shared(HostMemory);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

/// The elements of a tensor of this type, row-major.
#[cfg(test)]
pub(crate) fn elements<T: tch::kind::Element>(tensor: &tch::Tensor) -> Result<Vec<T>> {
    let mut values = filled(tensor.numel(), T::ZERO)?;
    tensor.f_copy_data(&mut values, tensor.numel())?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "calls libtorch")]
    fn both_directions_share_memory() {
        for element_type in ElementType::ALL {
            let theirs = tch::Tensor::from_slice(&[1_i64, 0, 1, 1, 0, 1]).view([2, 3]);
            let theirs = theirs.to_kind(element_type.kind());
            let place = theirs.data_ptr();
            let ours = Tensor::try_from(theirs.shallow_clone()).unwrap();
            assert_eq!((ours.element_type(), ours.shape()), (*element_type, &[2, 3][..]));
            assert_eq!(ours.to_i64s().unwrap(), [1, 0, 1, 1, 0, 1]);
            let back = tch::Tensor::try_from(&ours).unwrap();
            assert_eq!(back.data_ptr(), place);
            drop(ours);
            assert!(back.equal(&theirs), "{element_type}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "calls libtorch")]
    fn memory_lives_as_long_as_any_tensor_over_it() {
        let ours = Tensor::new(vec![3_f32; 1 << 16], [1 << 16]).unwrap();
        let theirs = tch::Tensor::try_from(&ours).unwrap();
        drop(ours);
        let view = theirs.narrow(0, 5, 2);
        drop(theirs);
        assert_eq!(Vec::<f32>::try_from(&view).unwrap(), [3., 3.]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "calls libtorch")]
    fn what_has_no_slice_is_copied_or_refused() {
        let theirs = tch::Tensor::from_slice(&[1_i32, 2, 3, 4]).view([2, 2]).transpose(0, 1);
        let ours = Tensor::try_from(theirs).unwrap();
        assert_eq!(ours.as_slice::<i32>().unwrap(), [1, 3, 2, 4]);
        let empty = tch::Tensor::zeros([0, 3], (tch::Kind::Float, tch::Device::Cpu));
        assert!(Tensor::try_from(empty).unwrap().as_slice::<f32>().unwrap().is_empty());
        for element_type in ElementType::ALL {
            let empty = tch::Tensor::zeros([0, 3], (element_type.kind(), tch::Device::Cpu));
            let back = tch::Tensor::try_from(&Tensor::try_from(empty).unwrap()).unwrap();
            assert_eq!((back.size(), back.kind()), (vec![0, 3], element_type.kind()));
        }
        let complex = tch::Tensor::zeros([1], (tch::Kind::ComplexFloat, tch::Device::Cpu));
        let error = Tensor::try_from(complex).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().starts_with("found elements of complex64, expected float32, "));
        let sparse = tch::Tensor::ones([1], (tch::Kind::Float, tch::Device::Cpu));
        assert!(Tensor::try_from(sparse.to_sparse(None, None::<&[i64]>, None)).is_err());
    }
}
