//! TorchScript modules from safe Rust: the parts of `torch::jit` that
//! [`tch`] leaves out.
//!
//! A [`ScriptModule`] owns named parameters and buffers in nested submodules,
//! gets methods by tracing a closure ([`ScriptModule::trace`]) or by compiling
//! TorchScript source ([`ScriptModule::define`]), and is saved to and loaded
//! from the archives that `torch.jit.load` opens. The crate knows nothing of
//! any model; it stands on libtorch 2.11.0 and a small C++ shim, in which every
//! function catches every exception.
//!
//! Archives are read as data alone by `torchscript-reader`, which needs no libtorch.
//!
//! ```
//! use tch::{Kind, Tensor};
//! use torchscript::{ScriptModule, Value};
//! use torchscript_reader::ArchiveReader;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let weight = Tensor::from_slice(&[1f32, 2., 3., 4.]).view([2, 2]);
//! let mut module = ScriptModule::new("Example")?;
//! module.register_parameter("dense.weight", &weight)?;
//!
//! // Record a closure as a method. Its arguments keep their names, and the
//! // parameter stays a parameter: it does not become a constant of the code.
//! let example = Tensor::ones([1, 2], (Kind::Float, tch::Device::Cpu));
//! module.trace("project", &[("x", &example)], |x| {
//!     Ok::<_, tch::TchError>(Value::Tensor(x[0].f_linear(&weight, None::<&Tensor>)?))
//! })?;
//!
//! // Compile a method from source; it can take optional arguments.
//! module.define("def forward(self, x: Tensor, scale: float = 2.0):\n    return self.project(x) * scale")?;
//!
//! let mut bytes = Vec::new();
//! module.save(&mut bytes, &[("note.txt", b"kept beside the weights")])?;
//!
//! let loaded = ScriptModule::load_bytes(&bytes, None)?;
//! let x = Tensor::from_slice(&[1f32, 1.]).view([1, 2]);
//! let y = loaded.call("forward", &[Value::from(&x)], &[])?.into_tensor()?;
//! assert_eq!(Vec::<f32>::try_from(y.flatten(0, 1))?, [6., 14.]);
//!
//! let note = ArchiveReader::from_bytes(&bytes)?.extra_file("note.txt")?;
//! assert_eq!(note.as_deref(), Some(&b"kept beside the weights"[..]));
//! # Ok(())
//! # }
//! ```

mod archive;
mod attention;
mod cuda;
mod dtype;
mod error;
mod ffi;
mod graph;
mod memory;
mod module;
mod process;
mod runtime;
mod shared;
mod trace;
mod value;

pub use attention::varlen_attention;
pub use cuda::{
    CudaDevice, OnStream, allow_tf32, cuda_device, cuda_device_count, cuda_synchronize,
};
pub use dtype::dtype_name;
pub use error::{Error, ErrorKind, Result};
pub use graph::{CudaCapture, CudaEvent, CudaGraph};
pub use memory::{from_managed, tensor_over, to_managed};
pub use module::{NamedTensor, ScriptModule};
pub use process::{check_cuda, end_pool, enter};
pub use runtime::{InferenceMode, Unoptimized, Warnings, loaded_torch_version, torch_version};
pub use shared::{SharedTensor, TensorBytes};
pub use torchscript_reader::{Argument, MethodSchema};
pub use trace::is_tracing;
pub use value::Value;
