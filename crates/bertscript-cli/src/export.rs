//! `bertscript export`

use crate::output;
use crate::progress::Progress;
use crate::text;
use bertscript::{
    Architecture, Archive, Attention, Checkpoint, Dtype, FixedShape, LoadOptions, PreTrained,
    Shapes, TieWeights, check_output,
};
use clap::Args;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Export a checkpoint to one TorchScript file.
///
/// DIR is a Hugging Face checkpoint as it is: config.json, model.safetensors
/// and, if they are there, the tokenizer files, which go into the file too.
/// The file runs at any batch size and any length up to the model's maximum, on
/// any device. It is written only after it has been run on several shapes and
/// found equal to the model.
#[derive(Args)]
pub(crate) struct Export {
    /// The checkpoint directory
    #[arg(value_name = "DIR")]
    checkpoint: PathBuf,
    /// The file to write, usually with the ending .pt
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The model class, such as BertForMaskedLM [default: what config.json names]
    #[arg(long, value_name = "CLASS")]
    architecture: Option<Architecture>,
    /// The dtype of the weights: f32, f16 or bf16 [default: the checkpoint's]
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<Dtype>,
    /// Initialise parameters that the checkpoint lacks; all of them where
    /// there is only a config.json
    #[arg(long, value_name = "SEED")]
    random_init: Option<u64>,
    /// Let tied weights share one storage, saved once, instead of giving each
    /// its own
    #[arg(long)]
    keep_tied: bool,
    /// How attention is computed: sdpa, or eager, which readers older than
    /// torch 2.0 understand too [default: sdpa]
    #[arg(long, value_name = "NAME")]
    attention: Option<Attention>,
    /// Return the hidden states of every layer too, as hidden_states.0, ..
    #[arg(long)]
    output_hidden_states: bool,
    /// Return the attention probabilities of every layer too, as
    /// attentions.0, ..; takes eager attention
    #[arg(long)]
    output_attentions: bool,
    /// Trace for this shape only, batch by length; may be given several times.
    /// Inputs are padded to the next shape, larger ones refused
    #[arg(long, value_name = "BxS")]
    fixed_shape: Vec<FixedShape>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

impl Export {
    pub(crate) fn execute(self) -> anyhow::Result<ExitCode> {
        let started = Instant::now();
        let progress = Progress::start("reading the checkpoint");
        let checkpoint = Checkpoint::open(&self.checkpoint)?;
        // Here already: reading the weights takes a while.
        check_output(&self.output, checkpoint.files()?)?;
        let options = LoadOptions {
            architecture: self.architecture,
            dtype: self.dtype,
            random_init: self.random_init,
            ties: if self.keep_tied { TieWeights::Keep } else { TieWeights::Untie },
            attention: self.attention,
            hidden_states: self.output_hidden_states,
            attentions: self.output_attentions,
        };
        let model = PreTrained::from_checkpoint(&checkpoint, &options)?;
        progress.stage("tracing, running other shapes against the model, and writing");
        let archive = model.export(&self.fixed_shape.clone().into(), &self.output)?;
        drop(progress);

        let size = std::fs::metadata(&self.output)?.len();
        if self.json {
            output::print_json(&serde_json::json!({
                "file": self.output,
                "file_bytes": size,
                "report": model.report(),
                "metadata": archive.metadata(),
            }))?;
        } else {
            output::print(&summary(&model, &archive)?)?;
            let path = self.output.display();
            let seconds = started.elapsed().as_secs_f64();
            output::print(&format!(
                "wrote         {path}, {} in {seconds:.1} s\n",
                output::bytes(size)
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn summary(model: &PreTrained, archive: &Archive) -> Result<String, std::fmt::Error> {
    let metadata = archive.metadata();
    let report = model.report();
    let mut summary = String::new();
    writeln!(
        summary,
        "model         {}, {} parameters, {} in {}",
        metadata.architecture,
        output::count(metadata.parameter_count),
        output::bytes(metadata.parameter_bytes),
        metadata.dtype
    )?;
    for [source, target] in &report.ties.untied {
        writeln!(summary, "untied        {target} from {source}")?;
    }
    for [source, target] in &report.ties.tied {
        writeln!(summary, "tied          {target} to {source}")?;
    }
    if metadata.tie_bytes > 0 {
        let bytes = output::bytes(metadata.tie_bytes);
        let what = if report.ties.tied.is_empty() {
            format!("separate storage costs {bytes}; --keep-tied saves it")
        } else {
            format!("sharing saves {bytes}")
        };
        writeln!(summary, "              {what}")?;
    }
    for [source, target] in &report.ties.different {
        writeln!(
            summary,
            "warning       {target} differs from {source} in the checkpoint; kept apart"
        )?;
    }
    if !report.renamed.is_empty() {
        let example = &report.renamed[0];
        writeln!(
            summary,
            "renamed       {}, such as {} to {}",
            report.renamed.len(),
            example.from,
            example.to
        )?;
    }
    if !report.unexpected.is_empty() {
        writeln!(summary, "not used      {}", report.unexpected.join(", "))?;
    }
    if !report.initialized.is_empty() {
        writeln!(
            summary,
            "initialised   {} parameters at random, not trained",
            report.initialized.len()
        )?;
    }
    for (key, line) in text::describe(archive.assets(), Some(model.architecture()), model.config())
    {
        writeln!(summary, "{key:<13} {line}")?;
    }
    writeln!(summary, "bundled       {}", metadata.files.join(", "))?;
    let checked = match &metadata.shapes {
        Shapes::Any => "equal to the model at other batch sizes and lengths; no device, shape or constant in its code".to_owned(),
        shapes => format!("equal to the model at {shapes} and smaller; larger inputs are refused"),
    };
    writeln!(summary, "checked       {checked}")?;
    Ok(summary)
}
