//! What archives lack without libtorch: their code.

use super::Source;
use crate::device::{Device, Dtype};
use crate::engine::Outputs;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use std::fs::File;

const PROGRAM: &str = "an archive that bertscript did not export";

impl Source {
    /// Refuses the program of somebody else.
    pub(crate) fn of_file_of_others(_: &File, _: Device, _: Option<Dtype>) -> Result<Self> {
        Err(Error::without_torch(PROGRAM))
    }

    /// Refuses the program of somebody else.
    pub(crate) fn of_bytes_of_others(_: &[u8], _: Device, _: Option<Dtype>) -> Result<Self> {
        Err(Error::without_torch(PROGRAM))
    }

    /// There is no program to call.
    pub(crate) fn call(&self, _: &[(String, Tensor)]) -> Result<Outputs> {
        Err(Error::without_torch(PROGRAM))
    }

    /// There is nothing to wait for.
    pub(crate) fn wait(&self) -> Result<()> {
        Ok(())
    }

    pub(super) fn program_to(&self, _: Device, _: Dtype) -> Result<Self> {
        Err(Error::without_torch(PROGRAM))
    }

    pub(super) fn program_parameters(&self) -> Result<Vec<(String, Tensor)>> {
        Err(Error::without_torch(PROGRAM))
    }
}
