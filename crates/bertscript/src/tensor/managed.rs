//! From and to tensors of other libraries, by DLPack.

use super::{DeviceMemory, ElementType, Memory, Tensor};
use crate::device::Device;
use crate::error::{Error, ErrorKind, Result};
use bertscript_plugin::{DataType, ManagedTensor, Place, StridedTensor};
use std::sync::Arc;

impl Tensor {
    /// For another library, over the same memory; marked as read-only.
    ///
    /// # Errors
    /// What libtorch says of memory on a device.
    pub fn to_dlpack(&self) -> Result<ManagedTensor> {
        match &self.memory {
            Memory::Device(memory) => memory.managed(),
            Memory::Host(memory) => {
                let data_type = self.element_type.data_type();
                ManagedTensor::over(Arc::clone(memory), data_type, &self.shape)
                    .map_err(|error| invalid("tensor", error.to_string()))
            }
        }
    }

    /// Of another library, over the same memory; over a copy if the elements are not one after
    /// the other, row-major.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for elements of a type that is not one of [`ElementType`], that
    /// are not aligned to their size, or of bool neither 0 nor 1; [`ErrorKind::Device`] for a
    /// device that is not there.
    pub fn from_dlpack(tensor: StridedTensor) -> Result<Self> {
        let element_type = element_type(tensor.data_type())?;
        let size = element_type.size();
        if !tensor.address().is_multiple_of(size) {
            return Err(invalid("data", format!("not aligned to {size} bytes")));
        }
        if let Place::Cuda(index) = tensor.place() {
            Device::Cuda(index).checked()?;
        }
        let tensor = match tensor.into_row_major() {
            Ok(tensor) => Self::from_managed(tensor)?,
            Err(tensor) => {
                let (shape, strides) = (tensor.shape().to_vec(), tensor.strides().to_vec());
                let span = Self::from_managed(tensor.into_span())?;
                span.gathered(shape, &strides)?
            }
        };
        if element_type == ElementType::Bool
            && let Memory::Host(memory) = &tensor.memory
            && (**memory).as_ref().iter().any(|byte| *byte > 1)
        {
            return Err(invalid("data", "found a bool that is neither 0 nor 1".to_owned()));
        }
        Ok(tensor)
    }

    /// Of another library, over the same memory.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the elements are of a type that this library lacks.
    pub(crate) fn from_managed(tensor: ManagedTensor) -> Result<Self> {
        let element_type = element_type(tensor.data_type())?;
        let shape = tensor.shape().to_vec();
        let memory = match tensor.place() {
            Place::Host => Memory::Host(Arc::new(tensor)),
            Place::Cuda(_) => Memory::Device(DeviceMemory::from_managed(tensor)?),
        };
        Ok(Self { element_type, shape, memory })
    }

    /// Elements of a tensor of one dimension that lie `strides` apart in each of `shape`.
    pub(crate) fn gathered(&self, shape: Vec<usize>, strides: &[usize]) -> Result<Self> {
        match &self.memory {
            Memory::Device(_) => self.gathered_on_device(shape, strides),
            Memory::Host(memory) => {
                Self::gather(self.element_type, shape, strides, (**memory).as_ref())
            }
        }
    }
}

fn element_type(found: DataType) -> Result<ElementType> {
    let known = ElementType::ALL.iter().find(|known| known.data_type() == found);
    known.copied().ok_or_else(|| {
        let code = match found.code {
            0 => "int".to_owned(),
            1 => "uint".to_owned(),
            2 => "float".to_owned(),
            4 => "bfloat".to_owned(),
            5 => "complex".to_owned(),
            6 => "bool".to_owned(),
            code => format!("code {code} of "),
        };
        let known: Vec<_> = ElementType::ALL.iter().map(|known| known.name()).collect();
        let (bits, known) = (found.bits, known.join(", "));
        invalid("dtype", format!("found {code}{bits}, expected {known}"))
    })
}

impl ElementType {
    /// DLPack's name.
    pub fn data_type(self) -> DataType {
        let code = match self {
            Self::I64 | Self::I32 | Self::I16 | Self::I8 => 0,
            Self::U8 => 1,
            Self::F64 | Self::F32 | Self::F16 => 2,
            Self::BF16 => 4,
            Self::Bool => 6,
        };
        // An element has at most 8 bytes.
        DataType { code, bits: 8 * self.size() as u8, lanes: 1 }
    }
}

fn invalid(place: &str, message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message).at(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Device, Dtype};

    #[test]
    fn tensors_of_every_type_cross_and_come_back() {
        let types: std::collections::HashSet<_> =
            ElementType::ALL.iter().map(|known| format!("{:?}", known.data_type())).collect();
        assert_eq!(types.len(), ElementType::ALL.len());
        for element_type in ElementType::ALL {
            let bytes = vec![1; 6 * element_type.size()];
            let tensor = Tensor::from_bytes(*element_type, [2, 3], &bytes).unwrap();
            let back = Tensor::from_managed(tensor.to_dlpack().unwrap()).unwrap();
            assert_eq!((back.element_type(), back.shape()), (*element_type, &[2, 3][..]));
            assert_eq!(back.as_bytes().unwrap(), bytes);
            assert_eq!((back.address(), back.device()), (tensor.address(), Device::Cpu));
        }
        let complex = DataType { code: 5, bits: 64, lanes: 1 };
        let complex = ManagedTensor::over(Arc::new([0_u8; 8]), complex, &[1]).unwrap();
        let error = Tensor::from_managed(complex).unwrap_err();
        assert!(error.to_string().starts_with("dtype: found complex64, expected "));
        assert_eq!(Dtype::BF16.element_type().data_type().code, 4);
    }
}
