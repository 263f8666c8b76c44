//! Devices and dtypes, by torch's names.

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::ElementType;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;
use tch::Kind;

/// Where a module runs: `cpu`, or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The CUDA device of this index.
    Cuda(usize),
}

impl Device {
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

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", index)) if index.bytes().all(|b| b.is_ascii_digit()) => {
                index.parse().map(Self::Cuda).map_err(|_| unknown(text))
            }
            _ => Err(unknown(text)),
        }
    }
}

fn unknown(device: &str) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("unknown device {device:?}, expected cpu, cuda or cuda:N"),
    )
}

/// What modules can run on here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Devices {
    /// The instructions that the kernels for the CPU use.
    pub cpu: String,
    /// The CUDA devices, in the order of their numbers.
    pub cuda: Vec<CudaDevice>,
    /// Why there is no CUDA device, if there is none.
    pub cuda_unavailable: Option<String>,
}

/// A CUDA device, as its driver describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CudaDevice {
    /// As a module is loaded onto it, `cuda:0`.
    pub device: String,
    /// Its name, such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Its memory in bytes, used or not.
    pub total_memory: u64,
    /// Its generation, such as `9.0`.
    pub compute_capability: String,
}

impl Devices {
    /// Looks for them. This loads libtorch's part for CUDA, and must come before the
    /// process asks libtorch for CUDA in another way.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if `BERTSCRIPT_MAX_ISA` names no instructions;
    /// [`ErrorKind::Torch`] if a driver does not describe its device.
    pub fn find() -> Result<Self> {
        let cpu = bertscript_kernels::Isa::best()
            .map_err(|message| Error::new(ErrorKind::InvalidInput, message))?;
        let (count, reason) = torchscript::cuda_device_count()?;
        let cuda = (0..count).map(|index| {
            let found = torchscript::cuda_device(index)?;
            let (major, minor) = found.compute_capability;
            Ok(CudaDevice {
                device: Device::Cuda(index).to_string(),
                name: found.name,
                total_memory: found.total_memory,
                compute_capability: format!("{major}.{minor}"),
            })
        });
        Ok(Self {
            cpu: cpu.name().to_owned(),
            cuda: cuda.collect::<Result<_>>()?,
            cuda_unavailable: Some(reason).filter(|reason| !reason.is_empty()),
        })
    }
}

/// The floating-point type of weights and outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// `float32`
    F32,
    /// `float16`
    F16,
    /// `bfloat16`
    BF16,
}

impl Dtype {
    /// Every dtype.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::BF16];

    /// torch's name, such as `float32`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
        }
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// The type of elements.
    pub fn element_type(self) -> ElementType {
        match self {
            Self::F32 => ElementType::F32,
            Self::F16 => ElementType::F16,
            Self::BF16 => ElementType::BF16,
        }
    }

    /// The dtype of a type of elements, if it is one of these.
    pub fn from_element_type(element_type: ElementType) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.element_type() == element_type)
    }

    /// tch's name.
    pub fn kind(self) -> Kind {
        self.element_type().kind()
    }

    /// The dtype of a tensor's kind, if it is one of these.
    pub fn from_kind(kind: Kind) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.kind() == kind)
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dtype {
    type Err = Error;

    /// Reads `f32`, `float32`, and what `config.json` writes, `torch.float32`.
    fn from_str(text: &str) -> Result<Self> {
        match text.strip_prefix("torch.").unwrap_or(text) {
            "f32" | "float32" | "float" => Ok(Self::F32),
            "f16" | "float16" | "half" => Ok(Self::F16),
            "bf16" | "bfloat16" => Ok(Self::BF16),
            _ => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("unknown dtype {text:?}, expected f32, f16 or bf16"),
            )),
        }
    }
}
