//! `bertscript verify`

use crate::options::RunOptions;
use crate::output;
use crate::progress::Progress;
use bertscript::verify::{self, Check};
use bertscript::{Checkpoint, read_safetensors};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Check that an exported file computes what it should.
///
/// Without options, the file is run at batch sizes 1 and 5, lengths up to the
/// max and rows of different lengths, against the eager model built from its own
/// weights; with --checkpoint, against the model of that directory; with
/// --inputs and --outputs, against outputs that another program computed. The
/// table names the engine that computed each case; masks with holes and rows of
/// zeros are among them. The last line is the verdict; fails if an error exceeds
/// the bound of the dtype.
#[derive(Args)]
pub(crate) struct Verify {
    /// The exported file
    file: PathBuf,
    /// Compare with the model of this checkpoint directory
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// Input tensors to run on
    #[arg(
        long,
        value_name = "IN.safetensors",
        requires = "outputs",
        conflicts_with = "checkpoint"
    )]
    inputs: Option<PathBuf>,
    /// The outputs expected for them
    #[arg(long, value_name = "REF.safetensors", requires = "inputs")]
    outputs: Option<PathBuf>,
    #[command(flatten)]
    options: RunOptions,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(crate) fn execute(self) -> anyhow::Result<ExitCode> {
        let progress = Progress::start("loading");
        let module = self.options.load(&self.file)?;
        let mut same_weights = false;
        let checks = if let (Some(inputs), Some(outputs)) = (&self.inputs, &self.outputs) {
            let (inputs, reference) = (read_safetensors(inputs)?, read_safetensors(outputs)?);
            vec![verify::against_reference(&module, inputs, &reference)?]
        } else {
            progress.stage("hashing the weights");
            same_weights = verify::check_weights(&module)?;
            let checkpoint = self.checkpoint.as_deref().map(Checkpoint::open).transpose()?;
            let model = verify::eager_model(&module, checkpoint.as_ref())?;
            progress.stage("running the file and the eager model");
            verify::against_model(&module, &model)?
        };
        drop(progress);
        let equal = checks.iter().all(Check::is_equal);
        if self.json {
            output::print_json(&serde_json::json!({
                "equal": equal,
                "same_weights": same_weights,
                "checks": checks,
            }))?;
        } else {
            output::print(&report(&checks, same_weights, &self.against()))?;
        }
        Ok(if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// What the file was compared with.
    fn against(&self) -> String {
        match (&self.checkpoint, &self.outputs) {
            (Some(checkpoint), _) => format!("the model of {}", checkpoint.display()),
            (None, Some(outputs)) => outputs.display().to_string(),
            (None, None) => "the model of its own weights".to_owned(),
        }
    }
}

fn report(checks: &[Check], same_weights: bool, against: &str) -> String {
    let heading = ["case", "engine", "output", "max abs error", "max rel error", "bound", ""];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let outputs = || checks.iter().flat_map(|check| &check.outputs);
    for check in checks {
        for output in &check.outputs {
            rows.push(vec![
                check.case.clone(),
                check.engine.to_string(),
                output.output.clone(),
                format!("{:.2e}", output.max_abs_error),
                format!("{:.2e}", output.max_rel_error),
                format!("{:.2e}", output.bound),
                if output.is_equal() { "ok" } else { "DIFFERS" }.to_owned(),
            ]);
        }
    }
    let mut report = output::table(&rows);
    if same_weights {
        report += "the weights are those of the export: their SHA-256 is as the file states\n";
    }
    let (all, differ) = (outputs().count(), outputs().filter(|output| !output.is_equal()).count());
    report += &match differ {
        0 => format!("equal to {against} within the bounds\n"),
        _ => format!("NOT equal to {against}: {differ} of {all} outputs exceed their bounds\n"),
    };
    report
}
