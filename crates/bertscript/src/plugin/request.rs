//! Requests and answers. Devices, dtypes and engines are named as the command does; modules by
//! numbers that the plug-in gives. Paths are bytes: a name need not be UTF-8.

use crate::error::{Error, ErrorKind};
use crate::shapes::Shapes;
use serde::{Deserialize, Serialize};
use std::error::Error as StdError;
use std::{fmt, io};

/// What is asked; tensors come beside it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// The CUDA devices, and why there is none.
    Devices,
    /// Whether there is this device.
    CheckDevice { device: String },
    /// A tensor on another device.
    ToDevice { device: String },
    /// A tensor in another dtype, where it is.
    ToDtype { dtype: String },
    /// Elements of a tensor of one dimension that lie so far apart in each of a shape.
    Gather { shape: Vec<usize>, strides: Vec<usize> },
    /// Whether products of float32 on CUDA devices may round to TF32.
    AllowTf32 { allowed: bool },
    /// How many seconds the fastest product of two square matrices takes, of as many as fit in
    /// a time.
    Product { device: String, dtype: String, size: i64, seconds: f64 },
    /// Waits until a device has done what this thread asked of it.
    Wait { device: String },
    /// An archive, of an open file of the process or of the tensor of its bytes, executed by an
    /// engine; by that which suits it, if none.
    Load { file: Option<i32>, device: String, dtype: Option<String>, engine: Option<String> },
    /// The module on another device, in another dtype.
    To { module: u64, device: String, dtype: String },
    /// The parameters, by name.
    Parameters { module: u64 },
    /// All outputs of inputs of these names.
    Run { module: u64, names: Vec<String> },
    /// What is wanted of the tensors of a batch.
    Forward { module: u64, want: WantRequest },
    /// How many CUDA graphs were captured.
    CapturedGraphs { module: u64 },
    /// The module's code with its weights as constants, written to an open file of the process.
    Freeze { module: u64, file: i32 },
    /// Ends a module.
    Free { module: u64 },
    /// The checkpoint in a directory as a model.
    Build { directory: Vec<u8>, options: BuildRequest },
    /// The model that an archive was made of.
    BuildOf { module: u64, options: BuildRequest },
    /// The same model, computing in float32.
    InFloat32 { model: u64 },
    /// All outputs of a model of inputs of these names.
    RunModel { model: u64, names: Vec<String> },
    /// The model, traced and verified, written to a file that appears whole.
    Export { model: u64, shapes: Shapes, path: Vec<u8> },
    /// The model, traced and verified, written to an open file of the process.
    Trace { model: u64, shapes: Shapes, file: i32 },
    /// Ends a model.
    FreeModel { model: u64 },
    /// How many threads an operation of libtorch may use.
    SetThreads { count: usize },
    /// Ends libtorch's threads of the calling one.
    ShutDown,
}

/// [`crate::LoadOptions`], by names
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BuildRequest {
    pub(crate) architecture: Option<String>,
    pub(crate) dtype: Option<String>,
    pub(crate) random_init: Option<u64>,
    pub(crate) keep_tied: bool,
    pub(crate) attention: Option<String>,
    pub(crate) hidden_states: bool,
    pub(crate) attentions: bool,
}

/// What is wanted of a batch
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WantRequest {
    Outputs(Vec<usize>),
    /// The tokens are the tensor after the batch.
    Tokens {
        output: usize,
    },
    Pooled {
        output: usize,
        modes: Vec<String>,
        skipped: Vec<usize>,
    },
}

/// What comes back: a value, or what went wrong.
pub(crate) type Reply = Result<serde_json::Value, Failure>;

/// An [`Error`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    kind: ErrorKind,
    place: Option<String>,
    text: Option<usize>,
    message: String,
    /// What it was because of, the nearest first.
    causes: Vec<String>,
    /// Whether that was a file that is not there.
    is_not_found: bool,
}

/// What an error was because of, as text.
#[derive(Debug)]
struct Cause {
    text: String,
    source: Box<dyn StdError + Send + Sync>,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let causes: Vec<_> =
            std::iter::successors(error.source(), |cause| (*cause).source()).collect();
        let is_not_found = causes.iter().any(|cause| {
            let io = cause.downcast_ref::<io::Error>();
            io.is_some_and(|io| io.kind() == io::ErrorKind::NotFound)
        });
        let causes: Vec<_> = causes.iter().map(ToString::to_string).collect();
        Self {
            is_not_found,
            kind: error.kind(),
            place: error.place().map(str::to_owned),
            text: error.text(),
            message: error.message().to_owned(),
            causes,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let mut error = Self::new(failure.kind, failure.message);
        if let Some(text) = failure.text {
            error = error.at_text(text);
        }
        if let Some(place) = failure.place {
            error = error.at(place);
        }
        let mut causes = failure.causes.into_iter().rev();
        let Some(deepest) = causes.next() else { return error };
        let deepest: Box<dyn StdError + Send + Sync> = match failure.is_not_found {
            true => Box::new(io::Error::new(io::ErrorKind::NotFound, deepest)),
            false => deepest.into(),
        };
        error.because(causes.fold(deepest, |source, text| Box::new(Cause { text, source })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_cross_whole() {
        let cause = Error::new(ErrorKind::Io, "first").because("second");
        let error = Error::new(ErrorKind::Torch, "message").at("place").because(cause);
        let json = serde_json::to_string(&Failure::from(error)).unwrap();
        let back = Error::from(serde_json::from_str::<Failure>(&json).unwrap());
        assert_eq!(back.kind(), ErrorKind::Torch);
        assert_eq!(back.to_string(), "place: message");
        let causes: Vec<_> =
            std::iter::successors(back.source(), |cause| (*cause).source()).collect();
        assert_eq!(causes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["first", "second"]);
        assert!(causes[1].downcast_ref::<io::Error>().is_none());
        let missing = io::Error::new(io::ErrorKind::NotFound, "no such file");
        let error = Error::new(ErrorKind::Io, "message").because(missing);
        let back = Error::from(Failure::from(error));
        let cause = back.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(cause.kind(), io::ErrorKind::NotFound);
        let error = Error::new(ErrorKind::InvalidInput, "long").at_text(3);
        let back = Error::from(Failure::from(error));
        assert_eq!((back.text(), back.place()), (Some(3), Some("text 3")));
    }

    #[test]
    fn requests_are_what_they_say() {
        let request = Request::Load {
            file: Some(3),
            device: "cuda:0".to_owned(),
            dtype: None,
            engine: Some("varlen".to_owned()),
        };
        let json = serde_json::to_string(&request).unwrap();
        let expected = r#"{"load":{"file":3,"device":"cuda:0","dtype":null,"engine":"varlen"}}"#;
        assert_eq!(json, expected);
    }
}
