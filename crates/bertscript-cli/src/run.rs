//! `bertscript run`

use crate::output;
use crate::progress::Progress;
use bertscript::{Device, Dtype, Module, Plan, check_output, read_safetensors, write_safetensors};
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
    place: Place,
}

/// Where and how to run.
#[derive(Args)]
pub(crate) struct Place {
    /// The device: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Cast the weights: f32, f16 or bf16 [default: the file's]
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<Dtype>,
    /// Number of threads [default: libtorch's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1024))]
    threads: Option<i32>,
    /// How to compute: packed, without padding; packed-int8, the same with linear
    /// layers of 8-bit integers, faster and less exact; or scripted, by libtorch
    /// [default: packed where it is possible]
    #[arg(long)]
    plan: Option<Plan>,
}

impl Place {
    pub(crate) fn load(&self, file: &std::path::Path) -> bertscript::Result<Module> {
        if let Some(threads) = self.threads {
            tch::set_num_threads(threads);
        }
        let module = Module::load(file, self.device, self.dtype)?;
        match self.plan {
            Some(plan) => module.with_plan(plan),
            None => Ok(module),
        }
    }
}

impl Run {
    pub(crate) fn execute(self) -> anyhow::Result<ExitCode> {
        check_output(&self.outputs, [&self.file, &self.inputs])?;
        let progress = Progress::start("loading");
        let module = self.place.load(&self.file)?;
        let inputs = read_safetensors(&self.inputs)?;
        progress.stage("running");
        let started = Instant::now();
        let outputs = module.run_named(inputs)?.into_tensors();
        let elapsed = started.elapsed();
        write_safetensors(&self.outputs, &outputs)?;
        drop(progress);
        for (name, tensor) in &outputs {
            output::print(&format!("{name}  {:?}  {}\n", tensor.size(), module.dtype()))?;
        }
        let path = self.outputs.display();
        output::print(&format!("ran in {:.1} ms, wrote {path}\n", elapsed.as_secs_f64() * 1e3))?;
        Ok(ExitCode::SUCCESS)
    }
}
