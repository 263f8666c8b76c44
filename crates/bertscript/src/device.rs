//! Devices and dtypes, by torch's names.

#[cfg(not(feature = "torch"))]
mod plugin;
#[cfg(feature = "torch")]
mod torch;

use crate::error::{Error, ErrorKind, Result};
#[cfg(not(feature = "torch"))]
use plugin::cuda_devices;
#[cfg(not(feature = "torch"))]
pub use plugin::{allow_tf32, load_torch};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
#[cfg(feature = "torch")]
pub(crate) use torch::cuda_devices;
#[cfg(feature = "torch")]
pub use torch::{allow_tf32, load_torch};

/// Where a module runs: `cpu`, or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The CUDA device of this index.
    Cuda(usize),
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// How many CUDA devices there are.
    ///
    /// # Errors
    /// [`ErrorKind::Torch`] if a driver does not describe its device.
    pub fn count_cuda() -> Result<usize> {
        Ok(cuda_devices()?.0.len())
    }

    /// Looks for them. This loads libtorch's part for CUDA, and must come before the
    /// process asks libtorch for CUDA in another way.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if `BERTSCRIPT_MAX_ISA` names no instructions;
    /// [`ErrorKind::Torch`] if a driver does not describe its device.
    pub fn find() -> Result<Self> {
        let cpu = bertscript_kernels::Isa::best()
            .map_err(|message| Error::new(ErrorKind::InvalidInput, message))?;
        let (cuda, cuda_unavailable) = cuda_devices()?;
        Ok(Self { cpu: cpu.name().to_owned(), cuda, cuda_unavailable })
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
