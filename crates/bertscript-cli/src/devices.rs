//! `bertscript devices`

use crate::output;
use bertscript::Devices;
use clap::Args;
use std::process::ExitCode;

/// List what models can run on here.
///
/// With a CUDA device come its name, its memory and its compute capability;
/// without one, what is missing: a part of libtorch, the driver, or the device.
#[derive(Args)]
pub(crate) struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl List {
    pub(crate) fn execute(self) -> anyhow::Result<ExitCode> {
        let devices = Devices::find()?;
        if self.json {
            output::print_json(&devices)?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut rows = vec![vec!["cpu".to_owned(), devices.cpu]];
        rows.extend(devices.cuda.into_iter().map(|found| {
            let memory = output::bytes(found.total_memory);
            let capability = format!("compute capability {}", found.compute_capability);
            vec![found.device, found.name, memory, capability]
        }));
        output::print(&output::table(&rows))?;
        if let Some(reason) = devices.cuda_unavailable {
            output::print(&format!("no CUDA device: {reason}\n"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
