//! What stands between bertscript and its plug-in for libtorch, `libbertscript_torch.so`.
//!
//! The library links no libtorch. What needs one is in the plug-in, which is loaded when it is
//! first wanted ([`Plugin::load`]), and answers requests: JSON, and tensors by [DLPack]. Nothing
//! of Rust's layout crosses the boundary ([`Interface`]); what the JSON says is bertscript's.
//!
//! [DLPack]: https://dmlc.github.io/dlpack/latest/c_api.html

mod context;
mod dlpack;
mod interface;
mod load;

pub use context::{Context, CudaStream, Log, LogLevel, OnStream, Stream, send_log_to};
pub use dlpack::{
    DLManagedTensorVersioned, DataType, MAX_DIMENSIONS, Malformed, ManagedTensor, Memory, Owner,
    Place, StridedTensor,
};
pub use interface::{Answer, Interface, Reply, Request, VERSION};
pub use load::{LIBRARY, NotLoaded, Plugin, TORCH_VERSION};
