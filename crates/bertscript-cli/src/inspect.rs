//! `bertscript inspect`

use crate::output;
use bertscript::{Archive, Metadata};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Describe an exported file without loading or running it.
#[derive(Args)]
pub(crate) struct Inspect {
    /// The exported file
    file: PathBuf,
    /// Print the description as JSON
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(crate) fn execute(self) -> anyhow::Result<ExitCode> {
        let archive = Archive::open(&self.file)?;
        let size = std::fs::metadata(&self.file)?.len();
        if self.json {
            output::print_json(&serde_json::json!({
                "file_bytes": size,
                "metadata": archive.metadata(),
            }))?;
        } else {
            output::print(&describe(archive.metadata(), size))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn describe(m: &Metadata, size: u64) -> String {
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
    let limits = &m.limits;
    lines.push((
        "limits",
        format!(
            "S up to {}, {} token ids, {} token types",
            limits.max_position_embeddings, limits.vocab_size, limits.type_vocab_size
        ),
    ));
    lines.push(("packed", m.files.join(", ")));
    lines.push(("weights", format!("SHA-256 {}", m.weights_sha256)));
    lines.push((
        "made by",
        format!(
            "bertscript {}, torch {}, format {}",
            m.bertscript_version, m.torch_version, m.format_version
        ),
    ));
    lines.iter().map(|(key, value)| format!("{key:<13} {value}\n")).collect()
}
