//! From and to tensors that cross the boundary of a library.

use super::{DeviceMemory, ElementType, Memory, Tensor};
use crate::error::{Error, ErrorKind, Result};
use bertscript_plugin::{DataType, ManagedTensor, Place};
use std::sync::Arc;

impl Tensor {
    /// For another library, over the same memory.
    pub(crate) fn to_managed(&self) -> Result<ManagedTensor> {
        match &self.memory {
            Memory::Device(memory) => memory.managed(),
            Memory::Host(memory) => {
                let data_type = self.element_type.data_type();
                ManagedTensor::over(Arc::clone(memory), data_type, &self.shape)
                    .map_err(|error| invalid(error.to_string()))
            }
        }
    }

    /// Of another library, over the same memory.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the elements are of a type that this library lacks.
    pub(crate) fn from_managed(tensor: ManagedTensor) -> Result<Self> {
        let found = tensor.data_type();
        let known = ElementType::ALL.iter().find(|known| known.data_type() == found);
        let element_type = *known.ok_or_else(|| {
            let (code, bits) = (found.code, found.bits);
            invalid(format!("found elements of DLPack's type {code} of {bits} bits"))
        })?;
        let shape = tensor.shape().to_vec();
        let memory = match tensor.place() {
            Place::Host => Memory::Host(Arc::new(tensor)),
            Place::Cuda(_) => Memory::Device(DeviceMemory::from_managed(tensor)?),
        };
        Ok(Self { element_type, shape, memory })
    }
}

impl ElementType {
    /// DLPack's name.
    fn data_type(self) -> DataType {
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

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message).at("tensor")
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
            let back = Tensor::from_managed(tensor.to_managed().unwrap()).unwrap();
            assert_eq!((back.element_type(), back.shape()), (*element_type, &[2, 3][..]));
            assert_eq!(back.as_bytes().unwrap(), bytes);
            assert_eq!((back.address(), back.device()), (tensor.address(), Device::Cpu));
        }
        let complex = DataType { code: 5, bits: 64, lanes: 1 };
        let complex = ManagedTensor::over(Arc::new([0_u8; 8]), complex, &[1]).unwrap();
        let error = Tensor::from_managed(complex).unwrap_err();
        assert_eq!(error.to_string(), "tensor: found elements of DLPack's type 5 of 64 bits");
        assert_eq!(Dtype::BF16.element_type().data_type().code, 4);
    }
}
