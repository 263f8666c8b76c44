//! Models without TorchScript: those of archives, and what they compute.

#[cfg(not(feature = "torch"))]
mod plugin;
#[cfg(feature = "torch")]
mod torch;

#[cfg(feature = "torch")]
pub use crate::models::PreTrained;
#[cfg(not(feature = "torch"))]
pub use plugin::PreTrained;
#[cfg(not(feature = "torch"))]
pub(crate) use plugin::{BUILDING, bytes};
