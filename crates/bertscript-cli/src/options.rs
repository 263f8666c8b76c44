//! How the commands that run an archive run it.

use bertscript::{Device, EngineKind, Module, Precision, Result};
use clap::Args;
use std::path::Path;
use std::str::FromStr;

/// Where and how to run.
#[derive(Args)]
pub(crate) struct RunOptions {
    /// The device: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// The number format: f32, bf16 or f16, to which the weights are cast, or int8: linear
    /// layers of 8-bit integers, faster and less exact [default: the archive's]
    #[arg(long, value_name = "FORMAT", alias = "dtype")]
    precision: Option<Precision>,
    /// Number of threads, 1 to 4096 [default: the cores that it may run on]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Option<u16>,
    /// What executes the archive: native, this library's kernels on the CPU; varlen,
    /// libtorch's operators without padding, on CUDA and in f16; torchscript, the archive's
    /// own code; or auto, the first of them that can
    #[arg(long, default_value = "auto")]
    engine: EngineChoice,
}

/// An engine, or the one that suits.
#[derive(Clone, Copy)]
struct EngineChoice(Option<EngineKind>);

impl FromStr for EngineChoice {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        match name {
            "auto" => Ok(Self(None)),
            name => name.parse().map(|engine| Self(Some(engine))).map_err(|_| {
                format!("unknown engine {name:?}, expected auto, native, varlen or torchscript")
            }),
        }
    }
}

impl RunOptions {
    pub(crate) fn load(&self, file: &Path) -> Result<Module> {
        if let Some(threads) = self.threads {
            bertscript::set_thread_count(threads.into());
        }
        let dtype = self.precision.and_then(Precision::dtype);
        let mut module = Module::load(file, self.device, dtype)?;
        if self.engine.0.is_some() {
            module = module.with_engine(self.engine.0)?;
        }
        match self.precision {
            Some(precision) => module.with_precision(precision),
            None => Ok(module),
        }
    }
}
