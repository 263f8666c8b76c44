//! Devices and dtypes, by torch's names.

use crate::error::{Error, ErrorKind, Result};
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

    /// tch's name.
    pub fn kind(self) -> Kind {
        match self {
            Self::F32 => Kind::Float,
            Self::F16 => Kind::Half,
            Self::BF16 => Kind::BFloat16,
        }
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
