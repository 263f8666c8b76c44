//! `bertscript.json`.

use crate::config::Config;
use crate::device::{Device, Dtype};
use crate::error::{Error, ErrorKind, Result};
use crate::family::{Architecture, Dim};
use crate::shapes::Shapes;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use torchscript_reader::{Argument, MethodSchema};

/// The version of the archive format that this library writes.
///
/// The rule: a reader opens every archive whose version is not greater than its
/// own, and ignores keys it does not know. Adding a key leaves the version as
/// it is; changing the meaning of one, or of the program's interface, raises it
/// and keeps a reader for the old one.
pub const FORMAT_VERSION: u32 = 1;

/// The description in every archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The library that wrote the archive.
    pub bertscript_version: String,
    /// The libtorch that wrote the archive.
    pub torch_version: String,
    /// The model class.
    pub architecture: String,
    /// The attention implementation in the code.
    pub attention: String,
    /// The dtype of the weights.
    pub dtype: String,
    /// The arguments of `forward`, in order.
    pub inputs: Vec<InputInfo>,
    /// What `forward` returns, in order; a single output is not in a tuple.
    pub outputs: Vec<OutputInfo>,
    /// The bounds of the inputs.
    pub limits: Limits,
    /// The shapes that the code was traced for.
    #[serde(default, rename = "fixed_shapes")]
    pub shapes: Shapes,
    /// The labels of a classifier's outputs, by index.
    #[serde(default)]
    pub labels: Vec<String>,
    /// `regression`, `single_label_classification` or
    /// `multi_label_classification`, where the checkpoint says so.
    #[serde(default)]
    pub problem_type: Option<String>,
    /// Groups of parameters that share one storage in this file.
    pub tied_groups: Vec<Vec<String>>,
    /// Groups that were tied in the checkpoint and are separate in this file.
    pub untied_groups: Vec<Vec<String>>,
    /// What sharing saves in this file, or separating costs, in bytes.
    #[serde(default)]
    pub tie_bytes: u64,
    /// Number of values in all parameters, shared ones counted once.
    pub parameter_count: u64,
    /// Size of all parameters, shared ones counted once.
    pub parameter_bytes: u64,
    /// See [`weights_sha256`].
    pub weights_sha256: String,
    /// The extra files beside this one.
    pub files: Vec<String>,
}

/// An argument of `forward`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputInfo {
    /// Its name.
    pub name: String,
    /// The dtypes it may have.
    pub dtypes: Vec<String>,
    /// Its shape, in symbols: `B` batch, `C` choice, `S` sequence.
    pub shape: Vec<String>,
    /// Whether it must be given.
    pub required: bool,
}

/// An output of `forward`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputInfo {
    /// transformers' name.
    pub name: String,
    /// Its dtype.
    pub dtype: String,
    /// Its shape: numbers, and the inputs' symbols (`BC` is their product).
    pub shape: Vec<String>,
}

impl OutputInfo {
    /// Whether it has a row for each token, rather than for each sequence.
    pub(crate) fn is_per_token(&self) -> bool {
        self.shape.iter().any(|symbol| *symbol == Dim::Sequence.to_string())
    }
}

/// The bounds of the inputs: ids are 0 to one less than these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Number of token ids.
    pub vocab_size: i64,
    /// Number of token type ids.
    pub type_vocab_size: i64,
    /// The maximum sequence length.
    pub max_position_embeddings: i64,
}

impl Limits {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            vocab_size: config.vocab_size(),
            type_vocab_size: config.type_vocab_size(),
            max_position_embeddings: config.max_length(),
        }
    }
}

/// A shape, in symbols.
pub(super) fn symbols(shape: &[Dim]) -> Vec<String> {
    shape.iter().map(Dim::to_string).collect()
}

impl Metadata {
    /// The text of `bertscript.json`.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self)
            .map_err(|error| Error::new(ErrorKind::Archive, error.to_string()))
    }

    pub(crate) fn from_json(text: &[u8]) -> Result<Self> {
        /// The one key that every version has.
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let invalid = |error: serde_json::Error| {
            Error::new(ErrorKind::Archive, format!("bertscript.json: {error}"))
        };
        let Version { format_version } = serde_json::from_slice(text).map_err(invalid)?;
        if format_version > FORMAT_VERSION {
            let message = format!(
                "the archive has format version {format_version}, this library reads up to {FORMAT_VERSION}; use a newer bertscript"
            );
            return Err(Error::new(ErrorKind::VersionMismatch, message));
        }
        serde_json::from_slice(text).map_err(invalid)
    }

    /// Refuses bounds that are not those of the model: what keeps to them is
    /// looked up in its tables.
    pub(crate) fn check(&self, config: &Config) -> Result<()> {
        let invalid = |message: String| {
            Err(Error::new(ErrorKind::Archive, format!("bertscript.json: {message}")))
        };
        let expected = Limits::of(config);
        if self.limits != expected {
            let json = |limits| serde_json::to_string(limits).unwrap_or_default();
            let (found, expected) = (json(&self.limits), json(&expected));
            return invalid(format!(
                "limits: found {found}, expected those of config.json, {expected}"
            ));
        }
        let Ok(architecture) = self.architecture() else { return Ok(()) };
        if let Err(error) = config.model(architecture) {
            return invalid(format!("architecture: {error}"));
        }
        let found = self.inputs.first().map_or(&[][..], |input| &input.shape);
        let expected = symbols(architecture.input_shape());
        match found == expected {
            false => invalid(format!(
                "inputs: found the shape [{}], expected [{}] of {}",
                found.join(", "),
                expected.join(", "),
                self.architecture
            )),
            true => Ok(()),
        }
    }

    /// Whether the hidden states of every layer are outputs.
    pub(crate) fn has_hidden_states(&self) -> bool {
        self.outputs.iter().any(|output| output.name.starts_with("hidden_states."))
    }

    /// Whether the attention probabilities of every layer are outputs.
    pub(crate) fn has_attentions(&self) -> bool {
        self.outputs.iter().any(|output| output.name.starts_with("attentions."))
    }

    /// The index of an output.
    pub(crate) fn output_index(&self, name: &str) -> Option<usize> {
        self.outputs.iter().position(|output| output.name == name)
    }

    /// The signature of `forward`, which the code states too.
    pub(crate) fn schema(&self) -> MethodSchema {
        let arguments = self.inputs.iter().map(|input| Argument {
            name: input.name.clone(),
            type_name: if input.required { "Tensor" } else { "Optional[Tensor]" }.to_owned(),
            has_default: !input.required,
        });
        let returns = match self.outputs.len() {
            1 => "Tensor".to_owned(),
            count => format!("Tuple[{}]", vec!["Tensor"; count].join(", ")),
        };
        MethodSchema { arguments: arguments.collect(), returns }
    }

    /// The architecture.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it is not one of this library.
    pub fn architecture(&self) -> Result<Architecture> {
        self.architecture.parse()
    }

    /// The dtype of the weights.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it is not one of this library.
    pub fn dtype(&self) -> Result<Dtype> {
        self.dtype.parse()
    }
}

/// The SHA-256 of named tensors, in hexadecimal: over each name in sorted
/// order, a NUL, and the tensor's values in row-major little-endian bytes.
pub fn weights_sha256(parameters: &[(String, Tensor)]) -> Result<String> {
    let mut sorted: Vec<_> = parameters.iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let mut hash = Sha256::new();
    for (name, tensor) in sorted {
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(tensor.to_device(Device::Cpu)?.as_bytes()?);
    }
    Ok(hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
