//! What a build without libtorch asks of one with it, over the boundary of
//! `bertscript-plugin`.

#[cfg(not(feature = "torch"))]
mod ask;
mod request;

#[cfg(not(feature = "torch"))]
pub(crate) use ask::{Answered, ask, forbid_tf32, free, tell};
pub(crate) use request::{BuildRequest, Request, WantRequest};
#[cfg(feature = "torch")]
pub(crate) use request::{Failure, Reply};
