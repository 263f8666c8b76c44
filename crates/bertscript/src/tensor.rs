//! Arrays of numbers, which are read without libtorch.

mod element;
mod managed;
mod memory;
#[cfg(not(feature = "torch"))]
mod plugin;
#[cfg(feature = "torch")]
mod torch;

pub use element::{Element, ElementType};
#[cfg(not(feature = "torch"))]
use plugin::DeviceMemory;
#[cfg(feature = "torch")]
use torch::DeviceMemory;
#[cfg(all(test, feature = "torch"))]
pub(crate) use torch::elements;

use crate::device::{Device, Dtype};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{collect, copied, filled};
use half::slice::HalfFloatSliceExt;
use std::fmt;
use std::sync::Arc;
use zerocopy::{ConvertError, IntoBytes, TryFromBytes};

/// An array of numbers: contiguous, row-major, unchanging. Clones share its memory.
///
/// On the CPU the elements are read as a slice:
///
/// ```
/// # fn main() -> bertscript::Result<()> {
/// let tensor = bertscript::Tensor::new([1_f32, 2., 3., 4., 5., 6.], [2, 3])?;
/// assert_eq!(tensor.shape(), [2, 3]);
/// assert_eq!(tensor.as_slice::<f32>()?[3..], [4., 5., 6.]);
/// # Ok(())
/// # }
/// ```
///
/// Those who use `tch` convert in both directions, without a copy:
/// `Tensor::try_from(tch_tensor)` and `tch::Tensor::try_from(&tensor)`.
#[derive(Clone)]
pub struct Tensor {
    element_type: ElementType,
    shape: Vec<usize>,
    memory: Memory,
}

/// Where the elements are.
#[derive(Clone)]
enum Memory {
    Host(HostMemory),
    /// On a CUDA device.
    Device(DeviceMemory),
}

/// Memory of the CPU that is owned, mapped or borrowed: whoever gives it says how it ends.
type HostMemory = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Elements that Rust owns.
struct Owned<T>(Vec<T>);

impl<T: Element> AsRef<[u8]> for Owned<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Tensor {
    /// A tensor of these elements, row-major.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the shape has another number of elements.
    pub fn new<T: Element>(
        elements: impl Into<Vec<T>>,
        shape: impl Into<Vec<usize>>,
    ) -> Result<Self> {
        let (elements, shape) = (elements.into(), shape.into());
        let expected = shape.iter().try_fold(1_usize, |all, size| all.checked_mul(*size));
        if expected != Some(elements.len()) {
            let found = elements.len();
            let message = format!("found {found} elements, expected those of shape {shape:?}");
            return Err(Error::new(ErrorKind::InvalidInput, message).at("tensor"));
        }
        let memory = Memory::Host(Arc::new(Owned(elements)));
        Ok(Self { element_type: T::TYPE, shape, memory })
    }

    /// A tensor of a copy of the bytes of its elements, row-major, in the order of this CPU.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the shape has another size, or a bool is neither 0
    /// nor 1.
    pub fn from_bytes(
        element_type: ElementType,
        shape: impl Into<Vec<usize>>,
        bytes: &[u8],
    ) -> Result<Self> {
        if !bytes.len().is_multiple_of(element_type.size()) {
            let (found, size) = (bytes.len(), element_type.size());
            let message = format!("found {found} bytes, expected a multiple of {size}");
            return Err(Error::new(ErrorKind::InvalidInput, message).at("tensor"));
        }
        element_type.read(shape.into(), bytes)
    }

    /// The type of the elements.
    pub fn element_type(&self) -> ElementType {
        self.element_type
    }

    /// The size of each dimension.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements.
    pub fn numel(&self) -> usize {
        // Of an empty tensor, the other sizes may be any.
        self.shape.iter().fold(1, |all, size| all.saturating_mul(*size))
    }

    /// The size of the elements in bytes.
    pub fn nbytes(&self) -> usize {
        self.numel() * self.element_type.size()
    }

    /// Where the elements are.
    pub fn device(&self) -> Device {
        match &self.memory {
            Memory::Host(_) => Device::Cpu,
            Memory::Device(memory) => memory.device(),
        }
    }

    /// The elements, row-major.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if they are of another type, or not on the CPU
    /// ([`Self::to_device`]).
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        let invalid = |message: String| Error::new(ErrorKind::InvalidInput, message).at("tensor");
        if self.element_type != T::TYPE {
            let (found, expected) = (self.element_type, T::TYPE);
            return Err(invalid(format!("found elements of {found}, expected {expected}")));
        }
        let bytes = self.as_bytes()?;
        if bytes.is_empty() {
            return Ok(&[]);
        }
        <[T]>::try_ref_from_bytes(bytes).map_err(|error| {
            invalid(match error {
                ConvertError::Validity(_) => "found a bool that is neither 0 nor 1".to_owned(),
                _ => format!("not aligned to the {} bytes of {}", T::TYPE.size(), T::TYPE),
            })
        })
    }

    /// The bytes of the elements, row-major, in the order of this CPU.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if they are not on the CPU.
    pub fn as_bytes(&self) -> Result<&[u8]> {
        match &self.memory {
            Memory::Host(memory) => Ok((**memory).as_ref()),
            Memory::Device(_) => {
                let message = format!("found a tensor on {}, expected the CPU", self.device());
                Err(Error::new(ErrorKind::InvalidInput, message).at("tensor"))
            }
        }
    }

    /// The same elements on a device; the same memory where they are there already.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if the device cannot be had.
    pub fn to_device(&self, device: Device) -> Result<Self> {
        if self.device() == device {
            return Ok(self.clone());
        }
        self.moved(device)
    }

    /// The same elements as float32; the same memory where they are already.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`].
    pub fn to_f32(&self) -> Result<Self> {
        if self.element_type == ElementType::F32 {
            return Ok(self.clone());
        }
        if let Memory::Device(_) = &self.memory {
            return self.cast_on_device(Dtype::F32);
        }
        let values = match self.element_type {
            // Float64 would round some of them once more.
            ElementType::I64 => collect(self.as_slice::<i64>()?.iter().map(|value| *value as f32))?,
            ElementType::F16 => {
                let mut values = filled(self.numel(), 0.)?;
                self.as_slice::<half::f16>()?.convert_to_f32_slice(&mut values);
                values
            }
            ElementType::BF16 => {
                let mut values = filled(self.numel(), 0.)?;
                self.as_slice::<half::bf16>()?.convert_to_f32_slice(&mut values);
                values
            }
            _ => self.map_elements(|value| value as f32)?,
        };
        Self::new(values, &self.shape[..])
    }

    /// What `map` makes of each element. float64 holds every element of the other types
    /// but integers beyond 2^53.
    pub(crate) fn map_elements<U>(&self, map: impl Fn(f64) -> U) -> Result<Vec<U>> {
        self.element_type.map_elements(self, map)
    }

    /// Whether another tensor has the same type, shape and values: no NaN has.
    pub(crate) fn equals(&self, other: &Self) -> Result<bool> {
        if (self.element_type, &self.shape) != (other.element_type, &other.shape) {
            return Ok(false);
        }
        self.element_type.equal(self, other)
    }

    /// Whether all values are, of floating-point ones on the CPU.
    pub(crate) fn is_finite(&self) -> Result<bool> {
        // Without a branch for each, this is as fast as memory.
        Ok(match self.element_type {
            ElementType::F32 => {
                let values = self.as_slice::<f32>()?.iter();
                values.fold(true, |all, value| all & value.is_finite())
            }
            ElementType::F16 => {
                let values = self.as_slice::<half::f16>()?.iter();
                values.fold(true, |all, value| all & value.is_finite())
            }
            ElementType::BF16 => {
                let values = self.as_slice::<half::bf16>()?.iter();
                values.fold(true, |all, value| all & value.is_finite())
            }
            _ => self.map_elements(f64::is_finite)?.into_iter().all(|is_finite| is_finite),
        })
    }

    /// The elements of integers and bools.
    pub(crate) fn to_i64s(&self) -> Result<Vec<i64>> {
        Ok(match self.element_type {
            ElementType::I64 => copied(self.as_slice::<i64>()?)?,
            // Exact: float64 holds every integer of 32 bits.
            _ => self.map_elements(|value| value as i64)?,
        })
    }

    /// The elements of integers, each an index.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for one below 0.
    #[cfg(feature = "torch")]
    pub(crate) fn to_usizes(&self) -> Result<Vec<usize>> {
        let values = self.to_i64s()?;
        let below = |value: i64| {
            let message = format!("found {value}, expected at least 0");
            Error::new(ErrorKind::InvalidInput, message).at("tensor")
        };
        crate::memory::try_collect(
            values.into_iter().map(|value| usize::try_from(value).map_err(|_| below(value))),
        )
    }

    /// Zeros of float32, which `fill` replaces, row-major, and as another type then.
    pub(crate) fn filled(
        shape: Vec<usize>,
        dtype: Dtype,
        fill: impl FnOnce(&mut [f32]),
    ) -> Result<Self> {
        let mut values = filled(shape.iter().product(), 0.)?;
        fill(&mut values);
        match dtype {
            Dtype::F32 => Self::new(values, shape),
            Dtype::F16 => Self::new(collect(values.into_iter().map(half::f16::from_f32))?, shape),
            Dtype::BF16 => Self::new(collect(values.into_iter().map(half::bf16::from_f32))?, shape),
        }
    }
}

impl AsRef<Tensor> for Tensor {
    fn as_ref(&self) -> &Tensor {
        self
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {:?} on {})", self.element_type, self.shape, self.device())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn elements_are_read_as_what_they_are() {
        let tensor = Tensor::new([1_i64, -2, 3], [3, 1]).unwrap();
        assert_eq!(tensor.as_slice::<i64>().unwrap(), [1, -2, 3]);
        assert_eq!(format!("{tensor:?}"), "Tensor(int64 [3, 1] on cpu)");
        let error = tensor.as_slice::<f32>().unwrap_err();
        assert_eq!(error.to_string(), "tensor: found elements of int64, expected float32");
        let error = Tensor::new([1_f32], [2]).unwrap_err();
        assert_eq!(error.to_string(), "tensor: found 1 elements, expected those of shape [2]");
        assert!(Tensor::new([0_u8; 0], [usize::MAX, 2]).is_err());
        assert!(Tensor::new([0.5_f64; 0], [0, 3]).unwrap().as_slice::<f64>().unwrap().is_empty());
        assert_eq!(Tensor::new([7_i16], []).unwrap().numel(), 1);
        let read = Tensor::from_bytes(ElementType::I16, [2], &[1, 0, 255, 255]).unwrap();
        assert_eq!(read.as_slice::<i16>().unwrap(), [1_i16.to_le(), -1]);
        assert!(Tensor::from_bytes(ElementType::I16, [1], &[1, 0, 0]).is_err());
        assert!(Tensor::from_bytes(ElementType::Bool, [1], &[2]).is_err());
    }

    #[test]
    fn elements_become_float32() {
        let as_f32 = |tensor: Result<Tensor>| {
            tensor.unwrap().to_f32().unwrap().as_slice::<f32>().unwrap().to_vec()
        };
        assert_eq!(as_f32(Tensor::new([f16::from_f32(0.5)], [1])), [0.5]);
        assert_eq!(as_f32(Tensor::new([bf16::from_f32(-3.)], [1])), [-3.]);
        assert_eq!(as_f32(Tensor::new([true, false], [2])), [1., 0.]);
        assert_eq!(as_f32(Tensor::new([i8::MIN], [1])), [-128.]);
        let between = (1_i64 << 53) + (1 << 29) + 1;
        assert_eq!(as_f32(Tensor::new([between], [1])), [between as f32]);
        assert_eq!(Tensor::new([i64::MAX], [1]).unwrap().to_i64s().unwrap(), [i64::MAX]);
        assert_eq!(Tensor::new([i32::MIN], [1]).unwrap().to_i64s().unwrap(), [i64::from(i32::MIN)]);
    }

    #[test]
    fn memory_that_is_no_array_of_the_elements_is_refused() {
        // Of two neighbouring addresses, one is aligned to nothing but 1.
        let bytes: &'static [u8] = &[2; 9];
        let of = |element_type, start: usize, size: usize| Tensor {
            element_type,
            shape: vec![size / 4],
            memory: Memory::Host(Arc::new(&bytes[start..start + size])),
        };
        let read = [0, 1].map(|start| of(ElementType::F32, start, 8).as_slice::<f32>().is_ok());
        assert!(!(read[0] && read[1]), "{read:?}");
        let error = of(ElementType::Bool, 0, 4).as_slice::<bool>().unwrap_err();
        assert_eq!(error.to_string(), "tensor: found a bool that is neither 0 nor 1");
    }
}
