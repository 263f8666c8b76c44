//! Loading an archive onto a device and running it.

mod frozen;
mod run;
mod saving;

use crate::archive::{self, Archive, ArchiveFile, Metadata, Opened};
use crate::assets::Assets;
use crate::device::{Device, Dtype};
use crate::embedding::EmbeddingPipeline;
use crate::engine::{Choice, Engine, EngineKind, Precision, Source, choose};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{HEADROOM, check};
use crate::process::enter;
use crate::tensor::Tensor;
use crate::text::Tokenizer;
use once_cell::sync::OnceCell;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use torchscript_reader::MethodSchema;

/// An archive on one device, in one dtype: one that bertscript exported, or any TorchScript
/// archive with a `forward`.
///
/// A module may be shared by any number of threads, which may run it at the
/// same time; nothing is locked.
#[derive(Debug)]
pub struct Module {
    source: Arc<Source>,
    choice: Choice,
    kind: EngineKind,
    engine: Arc<dyn Engine>,
    tokenizer: OnceCell<Arc<Tokenizer>>,
    pipeline: OnceCell<Option<Arc<EmbeddingPipeline>>>,
}

impl Module {
    /// Loads an archive onto the CPU, with the weights as they are: [`Self::load`] with its
    /// defaults.
    ///
    /// # Errors
    /// Those of [`Self::load`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::load(path, Device::Cpu, None)
    }

    /// Loads an archive from a file. The weights are cast to `dtype`, or keep the dtype that
    /// they have in it. The engine is the one that suits the archive, the device and the
    /// dtype ([`Self::with_engine`]).
    ///
    /// On the CPU, weights that are not cast are mapped from the file: its pages are shared
    /// with every other module of it. It may be replaced or removed meanwhile, but must not
    /// be truncated: the system would end the process on the next read. The prepacked weights
    /// of the native engine are shared, too, while there is a module of the file.
    ///
    /// # Errors
    /// Those of [`Archive::open`], and [`ErrorKind::Device`] if the device
    /// cannot be had.
    pub fn load(path: impl AsRef<Path>, device: Device, dtype: Option<Dtype>) -> Result<Self> {
        let path = path.as_ref();
        let load = || {
            let _entered = enter()?;
            check(HEADROOM)?;
            let device = device.checked()?;
            Self::from_file(archive::open_file(path)?, device, dtype)
        };
        load().map_err(|error: Error| error.at_path(path))
    }

    /// Loads an archive from an open file onto a device that is there.
    pub(crate) fn from_file(file: File, device: Device, dtype: Option<Dtype>) -> Result<Self> {
        let source = match ArchiveFile::from_file(file)? {
            Opened::Own(own) => Source::of_file(own.0, own.1, device, dtype)?,
            Opened::Other(file) => Source::of_file_of_others(&file, device, dtype)?,
        };
        Self::from_source(source, Choice::default())
    }

    /// Loads an archive from memory, as [`Self::load`] does from a file.
    pub fn from_bytes(bytes: &[u8], device: Device, dtype: Option<Dtype>) -> Result<Self> {
        let _entered = enter()?;
        let device = device.checked()?;
        let source = match ArchiveFile::from_bytes(bytes)? {
            Some((archive, file)) => Source::of_file(archive, file, device, dtype)?,
            None => Source::of_bytes_of_others(bytes, device, dtype)?,
        };
        Self::from_source(source, Choice::default())
    }

    fn from_source(source: Source, choice: Choice) -> Result<Self> {
        let source = Arc::new(source);
        let (kind, engine) = choose(&source, choice)?;
        let (tokenizer, pipeline) = (OnceCell::new(), OnceCell::new());
        Ok(Self { source, choice, kind, engine, tokenizer, pipeline })
    }

    /// The same archive, executed by choice, in a dtype on a device; what stays is shared.
    fn changed(&self, choice: Choice, device: Device, dtype: Dtype) -> Result<Self> {
        let is_there = (device, dtype) == (self.source.device, self.source.dtype);
        let source = match is_there {
            true => Arc::clone(&self.source),
            false => Arc::new(self.source.to(device, dtype)?),
        };
        let (kind, engine) = choose(&source, choice)?;
        let (tokenizer, pipeline) = (self.tokenizer.clone(), self.pipeline.clone());
        Ok(Self { source, choice, kind, engine, tokenizer, pipeline })
    }

    /// The same module on another device or in another dtype. What is already there is
    /// shared. An engine that was chosen, and 8-bit integers, are kept.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if the device cannot be had; [`ErrorKind::Unsupported`] if
    /// the chosen engine or precision is not possible there.
    pub fn to(&self, device: Option<Device>, dtype: Option<Dtype>) -> Result<Self> {
        let device = device.map_or(Ok(self.source.device), Device::checked)?;
        self.changed(self.choice, device, dtype.unwrap_or(self.source.dtype))
    }

    /// The same module executed by another engine; by the one that suits the archive, the
    /// device and the dtype, if none.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] with the reason, if the engine is not possible.
    pub fn with_engine(&self, engine: Option<EngineKind>) -> Result<Self> {
        self.with_engine_and_precision(engine, self.precision())
    }

    /// The same module in another precision: its weights are cast, or prepacked as 8-bit
    /// integers.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] with the reason, if the module's engine does not compute
    /// in it.
    pub fn with_precision(&self, precision: Precision) -> Result<Self> {
        self.with_engine_and_precision(self.choice.engine, precision)
    }

    /// [`Self::with_engine`] and [`Self::with_precision`] at once.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] with the reason, if the engine is not possible, or does
    /// not compute in the precision.
    pub fn with_engine_and_precision(
        &self,
        engine: Option<EngineKind>,
        precision: Precision,
    ) -> Result<Self> {
        let choice = Choice { engine, int8: precision == Precision::Int8 };
        self.changed(choice, self.source.device, precision.dtype().unwrap_or(self.source.dtype))
    }

    /// The engine that was chosen, if one was.
    pub fn chosen_engine(&self) -> Option<EngineKind> {
        self.choice.engine
    }

    /// What executes it.
    pub fn engine(&self) -> EngineKind {
        self.kind
    }

    /// The engine itself.
    pub(crate) fn executor(&self) -> &dyn Engine {
        &*self.engine
    }

    /// The description of an archive that bertscript exported.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for any other.
    pub(crate) fn exported(&self) -> Result<&Metadata> {
        self.metadata().ok_or_else(|| {
            let message = "found a third-party archive, expected one that bertscript exported";
            Error::new(ErrorKind::Unsupported, message)
        })
    }

    /// The number format that it computes in.
    pub fn precision(&self) -> Precision {
        if self.choice.int8 { Precision::Int8 } else { self.source.dtype.into() }
    }

    /// The archive's description of itself, if it is one of this library.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.archive().map(Archive::metadata)
    }

    /// The archive, if bertscript exported it.
    pub fn archive(&self) -> Option<&Archive> {
        self.source.archive.as_deref()
    }

    /// The file's tokenizer, which is built when it is first wanted.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the file has none; those of
    /// [`Tokenizer::from_assets`].
    pub fn tokenizer(&self) -> Result<&Arc<Tokenizer>> {
        self.tokenizer.get_or_try_init(|| Tokenizer::from_assets(self.assets()?).map(Arc::new))
    }

    /// The file's sentence-transformers pipeline, if it has one.
    ///
    /// # Errors
    /// Those of [`EmbeddingPipeline::from_assets`].
    pub fn pipeline(&self) -> Result<Option<&EmbeddingPipeline>> {
        let read = || Ok::<_, Error>(EmbeddingPipeline::from_assets(self.assets()?)?.map(Arc::new));
        Ok(self.pipeline.get_or_try_init(read)?.as_deref())
    }

    fn assets(&self) -> Result<&Assets> {
        self.archive().map(Archive::assets).ok_or_else(|| {
            let message = "the archive has no tokenizer: bertscript did not export it";
            Error::new(ErrorKind::Unsupported, message)
        })
    }

    /// The source of its weights.
    #[cfg(not(feature = "torch"))]
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// The signature of `forward`.
    pub fn schema(&self) -> &MethodSchema {
        &self.source.schema
    }

    /// Where it runs.
    pub fn device(&self) -> Device {
        self.source.device
    }

    /// The dtype of its outputs, and of its weights but for those that are prepacked as 8-bit
    /// integers.
    pub fn dtype(&self) -> Dtype {
        self.source.dtype
    }

    /// The parameters, by the names of the program's `state_dict`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a parameter of a dtype that [`ElementType`](crate::ElementType)
    /// lacks, in an archive of another program.
    pub fn parameters(&self) -> Result<Vec<(String, Tensor)>> {
        self.source.parameters()
    }
}
