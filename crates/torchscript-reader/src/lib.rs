//! TorchScript archives read as data: records, and signatures of methods. None of their code is
//! loaded, nor libtorch asked.
//!
//! ```no_run
//! # fn main() -> torchscript_reader::Result<()> {
//! let mut archive = torchscript_reader::ArchiveReader::open("model.pt".as_ref())?;
//! println!("{:?}", archive.records()?);
//! println!("{:?}", archive.schema("forward")?);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod error;
mod reader;
mod signature;

pub use error::{Error, ErrorKind, Result};
pub use reader::ArchiveReader;
pub use signature::{Argument, MethodSchema};
