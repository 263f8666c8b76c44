//! `bertscript run`

use crate::options::RunOptions;
use crate::output;
use crate::progress::Progress;
use bertscript::{check_output, read_safetensors, write_safetensors};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Run an exported file on tensors.
///
/// The input file holds input_ids and, if wanted, attention_mask and
/// token_type_ids, each [batch, sequence]. The output file gets the model's
/// outputs under their names; `inspect` lists them. A TorchScript file made by
/// another program runs too: its inputs are named as its forward names them, its
/// outputs by what it returns, or output.0, output.1 and so on.
#[derive(Args)]
pub(crate) struct Run {
    /// The exported file
    file: PathBuf,
    /// The input tensors
    #[arg(long, value_name = "IN.safetensors")]
    inputs: PathBuf,
    /// Where to write the output tensors
    #[arg(long, value_name = "OUT.safetensors")]
    outputs: PathBuf,
    #[command(flatten)]
    options: RunOptions,
}

impl Run {
    pub(crate) fn execute(self) -> anyhow::Result<ExitCode> {
        check_output(&self.outputs, [&self.file, &self.inputs])?;
        let progress = Progress::start("loading");
        let module = self.options.load(&self.file)?;
        let inputs = read_safetensors(&self.inputs)?;
        progress.stage("running");
        let started = Instant::now();
        let outputs = module.run_named(inputs)?.into_tensors();
        let elapsed = started.elapsed();
        write_safetensors(&self.outputs, &outputs)?;
        drop(progress);
        for (name, tensor) in &outputs {
            output::print(&format!("{name}  {:?}  {}\n", tensor.shape(), tensor.element_type()))?;
        }
        let path = self.outputs.display();
        output::print(&format!("ran in {:.1} ms, wrote {path}\n", elapsed.as_secs_f64() * 1e3))?;
        Ok(ExitCode::SUCCESS)
    }
}
