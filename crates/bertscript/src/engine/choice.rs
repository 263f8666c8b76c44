//! Which engine executes a module, and in which number format.

use super::native::NativeEngine;
use super::{Engine, Source};
use crate::archive::Metadata;
use crate::attention::Attention;
use crate::config::Config;
use crate::device::{Device, Dtype};
use crate::error::{Error, ErrorKind, Result};
use crate::shapes::Shapes;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// What executes a module. The results of all are equal, but for the order in which numbers
/// are added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// This library's own kernels, without padding: archives of this library on the CPU, in
    /// float32, bfloat16 and 8-bit integers. Hidden states, the embedding and logits of a
    /// text are bitwise the same in every batch.
    Native,
    /// libtorch's operators, without padding: archives of this library on CUDA devices, with
    /// FlashAttention where the device has it, and in float16.
    Varlen,
    /// The TorchScript code in the archive, as libtorch runs it: any archive, device and
    /// dtype.
    TorchScript,
}

/// The number format that an engine computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// float32
    F32,
    /// bfloat16
    Bf16,
    /// float16
    F16,
    /// 8-bit integers in the encoder's linear layers: a weight is rounded with a scale for
    /// each output, an input with a scale and an offset for each token when it comes. When
    /// such a module is first run, the model runs on random tokens before, in the module's
    /// dtype, to see which dimensions of its hidden states are great (SmoothQuant): for that
    /// time it takes the memory of that dtype. Then it is faster, in less memory, and less
    /// exact. What is not a linear layer computes in the module's dtype.
    Int8,
}

impl EngineKind {
    /// Every engine.
    pub const ALL: [Self; 3] = [Self::Native, Self::Varlen, Self::TorchScript];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Varlen => "varlen",
            Self::TorchScript => "torchscript",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EngineKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|engine| engine.name() == name).ok_or_else(|| {
            let message =
                format!("unknown engine {name:?}, expected native, varlen or torchscript");
            Error::new(ErrorKind::InvalidInput, message)
        })
    }
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 4] = [Self::F32, Self::Bf16, Self::F16, Self::Int8];

    /// Its short name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }

    /// The dtype of weights in it; none of 8-bit integers, which are made of any.
    pub fn dtype(self) -> Option<Dtype> {
        match self {
            Self::F32 => Some(Dtype::F32),
            Self::Bf16 => Some(Dtype::BF16),
            Self::F16 => Some(Dtype::F16),
            Self::Int8 => None,
        }
    }
}

impl From<Dtype> for Precision {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::BF16 => Self::Bf16,
            Dtype::F16 => Self::F16,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = Error;

    /// The short names, and torch's names of the dtypes.
    fn from_str(name: &str) -> Result<Self> {
        if name == Self::Int8.name() {
            return Ok(Self::Int8);
        }
        name.parse::<Dtype>().map(Self::from).map_err(|_| {
            let message = format!("unknown precision {name:?}, expected f32, bf16, f16 or int8");
            Error::new(ErrorKind::InvalidInput, message)
        })
    }
}

/// What a caller chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Choice {
    /// The engine; what suits the archive, the device and the precision if none.
    pub(crate) engine: Option<EngineKind>,
    /// Whether linear layers multiply 8-bit integers.
    pub(crate) int8: bool,
}

/// The engine for a choice.
///
/// # Errors
/// [`ErrorKind::Unsupported`] with the reason, if it cannot execute the archive there.
pub(crate) fn choose(
    source: &Arc<Source>,
    choice: Choice,
) -> Result<(EngineKind, Arc<dyn Engine>)> {
    let needs_script = source
        .archive
        .as_ref()
        .map_or(Some("found an archive that bertscript did not export"), |archive| {
            needs_script(archive.metadata(), archive.config())
        });
    let kind = kind(needs_script, source.device, source.dtype, choice)?;
    let source = Arc::clone(source);
    let engine: Arc<dyn Engine> = match kind {
        EngineKind::Native => Arc::new(NativeEngine::new(source, choice.int8)),
        #[cfg(feature = "torch")]
        EngineKind::Varlen => Arc::new(super::varlen::VarlenEngine::new(source)),
        #[cfg(feature = "torch")]
        EngineKind::TorchScript => Arc::new(super::script::ScriptEngine::new(source)),
        #[cfg(not(feature = "torch"))]
        kind => Arc::new(super::remote::RemoteEngine::new(source, kind)?),
    };
    Ok((kind, engine))
}

/// | archive | device, dtype | engine |
/// |---|---|---|
/// | of this library, of any shape, without attention probabilities and eager windows | CPU, float32 or bfloat16 | native |
/// | the same | CUDA, or float16 | varlen |
/// | any other | any | torchscript |
///
/// `torchscript` may be chosen for every archive, the others where they are in the table.
fn kind(
    needs_script: Option<&str>,
    device: Device,
    dtype: Dtype,
    choice: Choice,
) -> Result<EngineKind> {
    let refused =
        |setting: String, reason: &str| Err(Error::new(ErrorKind::Unsupported, reason).at(setting));
    let default = match needs_script {
        Some(_) => EngineKind::TorchScript,
        None if device == Device::Cpu && dtype != Dtype::F16 => EngineKind::Native,
        None => EngineKind::Varlen,
    };
    let found = || match needs_script {
        Some(reason) => reason.to_owned(),
        None => format!("found {dtype} on {}", device),
    };
    let kind = choice.engine.unwrap_or(default);
    if kind != default && kind != EngineKind::TorchScript {
        let expected = match default {
            EngineKind::TorchScript => "torchscript".to_owned(),
            _ => format!("{default} or torchscript"),
        };
        let reason = format!("{}, expected {expected}", found());
        return refused(format!("engine {kind}"), &reason);
    }
    if choice.int8 && kind != EngineKind::Native {
        let reason = match default {
            EngineKind::Native => "found the engine torchscript, expected native".to_owned(),
            _ => format!("{}, expected float32 or bfloat16 on cpu by the engine native", found()),
        };
        return refused("precision int8".to_owned(), &reason);
    }
    Ok(kind)
}

/// Why nothing but its own code executes an archive of this library, if so.
fn needs_script(metadata: &Metadata, config: &Config) -> Option<&'static str> {
    if metadata.shapes != Shapes::Any {
        Some("found an archive of fixed shapes")
    } else if metadata.has_attentions() {
        Some("found attention probabilities among the outputs")
    } else if metadata.attention == Attention::Eager.name() && config.has_window() {
        // A masked token that sees no key attends to all alike, and masked ones are left out.
        Some("found eager attention with a window")
    } else {
        None
    }
}
