//! `bertscript inspect`

use crate::output;
use crate::text;
use anyhow::{Context, bail};
use bertscript::{Architecture, Archive, Checkpoint, Metadata, Shapes, Survey};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use torchscript_reader::ArchiveReader;

/// Describe an exported file, or what a checkpoint would become.
///
/// A file is described without loading or running it; one made by another program,
/// by what stands in its code. Of a checkpoint directory, it is said what `export`
/// would make of it, and which parameters are missing, renamed or not used.
#[derive(Args)]
pub(crate) struct Inspect {
    /// The TorchScript file, or the checkpoint directory
    path: PathBuf,
    /// Of a directory: the model class to look for [default: what config.json
    /// names]
    #[arg(long, value_name = "CLASS")]
    architecture: Option<Architecture>,
    /// Print the description as JSON
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(crate) fn execute(self) -> anyhow::Result<ExitCode> {
        if self.path.is_dir() {
            return self.checkpoint();
        }
        let size = std::fs::metadata(&self.path).map_or(0, |found| found.len());
        let Some(archive) = Archive::open(&self.path)? else { return self.program(size) };
        if self.json {
            output::print_json(&serde_json::json!({
                "file_bytes": size,
                "metadata": archive.metadata(),
            }))?;
        } else {
            output::print(&describe(&archive, size))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// A TorchScript program that does not describe itself.
    fn program(&self, size: u64) -> anyhow::Result<ExitCode> {
        let describe = || -> torchscript_reader::Result<_> {
            let mut reader = ArchiveReader::open(&self.path)?;
            Ok((reader.tensor_bytes()?, reader.schema("forward")?))
        };
        let (tensor_bytes, schema) = describe().with_context(|| self.path.display().to_string())?;
        let Some(schema) = schema else {
            bail!("{}: the program has no method `forward`", self.path.display())
        };
        if self.json {
            let inputs = schema.arguments.iter().map(|argument| {
                serde_json::json!({
                    "name": argument.name,
                    "type": argument.type_name,
                    "required": !argument.has_default,
                })
            });
            output::print_json(&serde_json::json!({
                "file_bytes": size,
                "metadata": null,
                "tensor_bytes": tensor_bytes,
                "inputs": inputs.collect::<Vec<_>>(),
                "returns": schema.returns,
            }))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut lines = vec![
            ("program", "TorchScript, not made by bertscript".to_owned()),
            ("tensors", output::bytes(tensor_bytes)),
            ("file", output::bytes(size)),
        ];
        for (i, argument) in schema.arguments.iter().enumerate() {
            let optional = if argument.has_default { ", optional" } else { "" };
            let text = format!("{} {}{optional}", argument.name, argument.type_name);
            lines.push((if i == 0 { "inputs" } else { "" }, text));
        }
        lines.push(("returns", schema.returns.clone()));
        output::print(&lay_out(&lines))?;
        Ok(ExitCode::SUCCESS)
    }

    /// What export would make of a checkpoint directory.
    fn checkpoint(&self) -> anyhow::Result<ExitCode> {
        let checkpoint = Checkpoint::open(&self.path)?;
        let survey = Survey::of(&checkpoint, self.architecture)?;
        if self.json {
            output::print_json(&survey)?;
            return Ok(ExitCode::SUCCESS);
        }
        let list = |names: &[String]| match names {
            [] => "none".to_owned(),
            [first, ..] if names.len() > 10 => {
                format!("{}, such as {first} (--json lists all)", names.len())
            }
            _ => names.join(&format!("\n{:14}", "")),
        };
        let renamed: Vec<_> =
            survey.renamed.iter().map(|name| format!("{} to {}", name.from, name.to)).collect();
        let architecture = survey.architecture.parse().ok();
        let mut lines = vec![
            ("architecture", survey.architecture.clone()),
            ("family", survey.model_type.clone()),
            ("takes", limits(&survey)),
            ("weights", survey.weights.clone().unwrap_or_else(|| "none".to_owned())),
            ("dtype", survey.dtype.clone()),
            (
                "parameters",
                format!(
                    "{} of {} found",
                    survey.parameters - survey.missing.len(),
                    survey.parameters
                ),
            ),
            ("missing", list(&survey.missing)),
            ("tied", list(&survey.tied)),
            ("renamed", list(&renamed)),
            ("not used", list(&survey.unexpected)),
        ];
        lines.extend(text::describe(&checkpoint.assets()?, architecture, checkpoint.config()));
        lines.push(("packs", list(&survey.files)));
        output::print(&lay_out(&lines))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What the model takes.
fn limits(survey: &Survey) -> String {
    let Survey { max_length, vocab_size, type_vocab_size, .. } = survey;
    let types = match type_vocab_size {
        1 => "one token type".to_owned(),
        count => format!("{count} token types"),
    };
    format!("up to {max_length} tokens, of {vocab_size} ids and {types}")
}

/// Keys in one column, values in the next.
fn lay_out(lines: &[(&str, String)]) -> String {
    lines.iter().map(|(key, value)| format!("{key:<13} {value}\n")).collect()
}

fn describe(archive: &Archive, size: u64) -> String {
    let m: &Metadata = archive.metadata();
    let groups = |groups: &[Vec<String>]| {
        groups.iter().map(|group| group.join(" = ")).collect::<Vec<_>>().join("; ")
    };
    let mut lines = vec![
        ("architecture", m.architecture.clone()),
        (
            "parameters",
            format!("{}, {}", output::count(m.parameter_count), output::bytes(m.parameter_bytes)),
        ),
        ("dtype", m.dtype.clone()),
        ("attention", m.attention.clone()),
        ("file", output::bytes(size)),
    ];
    let bytes = output::bytes(m.tie_bytes);
    if !m.tied_groups.is_empty() {
        lines.push(("tied", format!("{}, saves {bytes}", groups(&m.tied_groups))));
    }
    if !m.untied_groups.is_empty() {
        lines.push(("untied", format!("{}, costs {bytes}", groups(&m.untied_groups))));
    }
    if !m.labels.is_empty() {
        let kind = m.problem_type.as_ref().map(|kind| format!(" ({kind})")).unwrap_or_default();
        lines.push(("labels", format!("{}{kind}", m.labels.join(", "))));
    }
    for (i, input) in m.inputs.iter().enumerate() {
        let optional = if input.required { "" } else { ", optional" };
        let text = format!(
            "{} [{}] {}{optional}",
            input.name,
            input.shape.join(", "),
            input.dtypes.join(" or ")
        );
        lines.push((if i == 0 { "inputs" } else { "" }, text));
    }
    for (i, out) in m.outputs.iter().enumerate() {
        let text = format!("{} [{}] {}", out.name, out.shape.join(", "), out.dtype);
        lines.push((if i == 0 { "outputs" } else { "" }, text));
    }
    if m.shapes != Shapes::Any {
        lines.push(("fixed shapes", m.shapes.to_string()));
    }
    let limits = &m.limits;
    lines.push((
        "limits",
        format!(
            "S up to {}, {} token ids, {} token types",
            limits.max_position_embeddings, limits.vocab_size, limits.type_vocab_size
        ),
    ));
    lines.extend(text::describe(archive.assets(), m.architecture().ok(), archive.config()));
    lines.push(("bundled", m.files.join(", ")));
    lines.push(("weights", format!("SHA-256 {}", m.weights_sha256)));
    lines.push((
        "made by",
        format!(
            "bertscript {}, torch {}, format {}",
            m.bertscript_version, m.torch_version, m.format_version
        ),
    ));
    lay_out(&lines)
}
