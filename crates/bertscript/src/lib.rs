//! A Hugging Face checkpoint of BERT or another encoder becomes one portable TorchScript
//! file, and runs, without Python.
//!
//! Each stage is a function over plain values:
//!
//! ```text
//! Checkpoint::open -> PreTrained::from_checkpoint -> trace -> Archive::save
//!                                                    Module::load -> Module::run
//! ```
//!
//! # Exporting
//!
//! A checkpoint is a directory as Hugging Face publishes it: `config.json`,
//! `model.safetensors` and the tokenizer's files. Loading brings old parameter
//! names up to date and gives tied weights separate storage; tracing records
//! the model as a program for every batch size and length, and runs it on other
//! shapes against the model before it returns.
//!
//! ```
//! # fn main() -> bertscript::Result<()> {
//! # let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/masked-lm");
//! # let folder = tempfile::tempdir().unwrap();
//! # let file = folder.path().join("bert.pt");
//! bertscript::export(directory, &file)?;
//! # Ok(())
//! # }
//! ```
//!
//! Or in its steps, with a report between them, another dtype, or fixed shapes:
//!
//! ```
//! use bertscript::{Checkpoint, Dtype, LoadOptions, PreTrained, Shapes};
//! # fn main() -> bertscript::Result<()> {
//! # let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/masked-lm");
//! # let folder = tempfile::tempdir().unwrap();
//! # let file = folder.path().join("bert.pt");
//! let checkpoint = Checkpoint::open(directory)?;
//! let options = LoadOptions { dtype: Some(Dtype::BF16), ..LoadOptions::default() };
//! let model = PreTrained::from_checkpoint(&checkpoint, &options)?;
//! for [source, target] in &model.report().ties.untied {
//!     println!("{target} no longer shares the storage of {source}");
//! }
//! model.export(&Shapes::Any, &file)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Running
//!
//! A [`Module`] is an archive on one device, in one dtype. Inputs and outputs
//! go by name, as [`Inputs`] and [`Outputs`]; a module can be shared by threads.
//!
//! ```
//! use bertscript::{Inputs, Module};
//! # fn main() -> bertscript::Result<()> {
//! # let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/masked-lm");
//! # let folder = tempfile::tempdir().unwrap();
//! # let file = folder.path().join("bert.pt");
//! # bertscript::export(directory, &file)?;
//! let module = Module::open(&file)?;
//!
//! // Two texts of different length, as token ids: padded and masked.
//! let inputs = Inputs::from_rows(&[vec![2, 17, 5, 3], vec![2, 41, 3]], 0)?;
//! let outputs = module.run(&inputs)?;
//! let logits = outputs.get("logits")?;
//! assert_eq!(logits.shape(), [2, 4, 128]);
//! assert_eq!(logits.as_slice::<f32>()?.len(), 2 * 4 * 128);
//! # Ok(())
//! # }
//! ```
//!
//! # Text
//!
//! An archive carries the checkpoint's tokenizer, its labels, and the pipeline of
//! sentence-transformers. So text goes in, and answers come out: see
//! [`Module::embed`], [`Module::embed_sparse`], [`Module::classify`], [`Module::zero_shot`],
//! [`Module::rank`], [`Module::entities`],
//! [`Module::answer`], [`Module::fill_mask`] and [`Module::next_sentence`]. Any
//! number of texts may be given; they are sorted by length and cut into batches.
//!
//! ```
//! use bertscript::{EntitiesOptions, Module};
//! # fn main() -> bertscript::Result<()> {
//! # let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/text/entities");
//! # let folder = tempfile::tempdir().unwrap();
//! # let file = folder.path().join("ner.pt");
//! # bertscript::export(directory, &file)?;
//! let module = Module::open(&file)?;
//! let text = "She went to the big city.";
//! for found in module.entities([text], &EntitiesOptions::default())? {
//!     for entity in found.entities {
//!         println!("{} {:.2} {}", entity.entity, entity.score, &text[entity.start..entity.end]);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Errors
//!
//! What is out of bounds is refused before anything runs, with the argument,
//! what was found and what was expected. The module stays usable.
//!
//! ```
//! # use bertscript::{Inputs, Module};
//! use bertscript::ErrorKind;
//! # fn main() -> bertscript::Result<()> {
//! # let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/model");
//! # let folder = tempfile::tempdir().unwrap();
//! # let file = folder.path().join("bert.pt");
//! # bertscript::export(directory, &file)?;
//! # let module = Module::open(&file)?;
//! let error = module.run(&Inputs::from_rows(&[[2, 999, 3]], 0)?).unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::InvalidInput);
//! assert_eq!(error.to_string(), "input_ids: found 999 at [0, 1], expected 0 to 127");
//! # Ok(())
//! # }
//! ```
//!
//! # Without libtorch
//!
//! Without the feature `torch`, which is on by default, the library links no libtorch: the
//! native engine runs archives on the CPU, in float32, bfloat16 and 8-bit integers, and all text
//! tasks. What requires libtorch asks the plug-in `libbertscript_torch.so` for it, which is loaded
//! when it is first wanted, from where the variable `BERTSCRIPT_TORCH` says, or else from beside
//! the program or from where the system looks for libraries:
//! exporting, CUDA, float16, the engine `torchscript`, and archives that only it executes, those
//! of fixed shapes, with attention probabilities, and of other programs. Without the plug-in they
//! are refused as [`ErrorKind::TorchUnavailable`]. Functions that take types of `tch` are in builds
//! with the feature alone.
//!
//! # What the file is
//!
//! A TorchScript archive that `torch.jit.load` and libtorch open too, with
//! `forward(input_ids, attention_mask=None, token_type_ids=None)`. Its
//! parameters bear transformers' names. [`Metadata`] describes it, and can be
//! read with [`Archive::open`] without loading any code.
//!
#![forbid(unsafe_code)]
#![allow(clippy::missing_errors_doc)]
// What describes models is read where they are traced, too.
#![cfg_attr(not(feature = "torch"), allow(dead_code))]
// Denied where models are traced: `nn` and `models`.
#![allow(clippy::disallowed_methods)]

mod activation;
#[cfg(feature = "torch")]
mod answer;
mod archive;
mod assets;
mod atomic_file;
mod attention;
mod batch;
mod ceiling;
mod checkpoint;
mod compare;
mod config;
mod device;
mod eager;
mod embedding;
mod engine;
mod error;
mod example;
mod export;
mod family;
mod load;
mod memory;
#[cfg(feature = "torch")]
mod models;
mod module;
#[cfg(feature = "torch")]
mod nn;
mod parallel;
mod plugin;
mod process;
mod shapes;
mod survey;
mod tasks;
mod tensor;
mod text;
#[cfg(feature = "torch")]
mod trace;
mod untie;
pub mod verify;
mod weights;

pub use activation::{ACTIVATIONS, Activation};
#[cfg(feature = "torch")]
#[doc(hidden)] // for the plug-in
pub use answer::PluginAnswer;
pub use archive::{
    Archive, FORMAT_VERSION, InputInfo, Limits, Metadata, OutputInfo, weights_sha256,
};
#[doc(hidden)] // for fuzzing
pub use archive::{ArchiveWeights, WeightRecord};
pub use assets::Assets;
#[doc(hidden)] // for the command
pub use atomic_file::{WholeFile, check_output, is_same_file};
pub use attention::Attention;
pub use batch::Inputs;
#[doc(hidden)] // for the command
pub use ceiling::fastest_product;
pub use checkpoint::{Checkpoint, Renamed, StateDict, read_safetensors, write_safetensors};
pub use compare::{Comparison, tolerance};
pub use config::Config;
pub use device::{CudaDevice, Device, Devices, Dtype, allow_tf32, load_torch};
pub use eager::PreTrained;
pub use embedding::{
    EmbeddingPipeline, EmbeddingPrecision, EmbeddingQuality, EmbeddingRanges, PoolingMode, Prompts,
    Quantizer, Similarity,
};
pub use engine::{EngineKind, Outputs, Precision};
pub use error::{Error, ErrorKind, Result};
pub use export::export;
pub use family::model::{ModelSpec, Tie};
pub use family::{Architecture, Dim, OutputSpec, Task};
pub use load::{LoadOptions, LoadReport};
pub use module::Module;
pub use process::{MAX_THREADS, set_thread_count, shutdown_threads, thread_count};
pub use shapes::{FixedShape, Shapes};
pub use survey::Survey;
pub use tasks::{
    AggregationStrategy, Answer, AnswerOptions, Answers, Cancel, Classification, ClassifyOptions,
    EmbedOptions, EmbedSparseOptions, Embeddings, Entities, EntitiesOptions, Entity,
    FillMaskOptions, Filling, Fillings, FunctionToApply, LabelScore, LongTexts, RankOptions,
    RankedText, SparseEmbeddings, ZeroShotOptions,
};
pub use tensor::{Element, ElementType, Tensor};
pub use text::{
    EncodeOptions, Encoding, MAX_PADDED_LENGTH, MAX_TEXT_BYTES, Padding, Text, Tokenizer,
    Truncation,
};
#[cfg(feature = "torch")]
pub use trace::trace;
pub use untie::{TieReport, TieWeights, tie};

pub use bertscript_plugin::{CudaStream, TORCH_VERSION};

/// Tensors of other libraries, and for them: [DLPack] 1.
///
/// [`Tensor::from_dlpack`] takes them, and [`Tensor::to_dlpack`] gives them.
///
/// [DLPack]: https://dmlc.github.io/dlpack/latest/
pub mod dlpack {
    pub use bertscript_plugin::{
        DLManagedTensorVersioned, DataType, Malformed, ManagedTensor, Owner, Place, StridedTensor,
    };
}
