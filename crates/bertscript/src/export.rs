//! From a checkpoint to an archive.

#[cfg(not(feature = "torch"))]
mod remote;
#[cfg(feature = "torch")]
mod traced;

use crate::archive::Archive;
use crate::checkpoint::Checkpoint;
use crate::eager::PreTrained;
use crate::error::Result;
use crate::load::LoadOptions;
use crate::shapes::Shapes;
use std::path::Path;

/// Writes the checkpoint in a directory to one file, for any batch size and length:
/// [`Checkpoint::open`], [`PreTrained::from_checkpoint`] and [`PreTrained::export`].
///
/// # Errors
/// Theirs.
pub fn export(directory: impl AsRef<Path>, file: impl AsRef<Path>) -> Result<Archive> {
    let checkpoint = Checkpoint::open(directory)?;
    let model = PreTrained::from_checkpoint(&checkpoint, &LoadOptions::default())?;
    model.export(&Shapes::Any, file)
}
