//! Texts from their letters to their embeddings.

use super::measure::{Bench, quantile};
use super::report::{Report, TextRow, TextRows};
use super::variants::{Runner, Variant};
use crate::stream::{Chunk, Chunks};
use anyhow::bail;
use bertscript::{
    Cancel, EmbedOptions, EmbeddingQuality, Embeddings, EncodeOptions, ErrorKind, Module,
    Precision, Text, Truncation,
};
use std::path::Path;
use std::time::Instant;

/// More texts than these say nothing new.
const MAX_TEXTS: usize = 2048;

/// The lines of a file.
pub(super) struct Texts {
    name: String,
    chunk: Chunk,
}

impl Texts {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.file_name().unwrap_or(path.as_os_str()).display().to_string();
        let mut chunk = Chunk { first: 0, texts: Vec::new(), noun: "line" };
        for more in Chunks::open(Some(path), false, Cancel::default())? {
            chunk.texts.extend(more?.texts);
            if chunk.texts.len() >= MAX_TEXTS {
                break;
            }
        }
        chunk.texts.truncate(MAX_TEXTS);
        if chunk.texts.is_empty() {
            bail!("{}: found no line, expected a text on each", path.display());
        }
        Ok(Self { name, chunk })
    }

    /// Embeds them in turns, by the variants that take text.
    pub(super) fn measure(
        &self,
        module: &Module,
        bench: &Bench<'_>,
        report: &mut Report,
        say: impl Fn(String),
    ) -> anyhow::Result<()> {
        let options = EmbedOptions { cancel: bench.pace.cancel.clone(), ..Default::default() };
        match module.embed([""; 0], &options) {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                report.leave_out("texts", error.to_string());
                return Ok(());
            }
            other => drop(other?),
        }
        let chosen = bench.runners.iter().filter_map(|(variant, runner)| match runner {
            Runner::Module(module)
                if module.archive().is_some() && *variant != Variant::FixedPad =>
            {
                Some((*variant, module))
            }
            _ => None,
        });
        let chosen: Vec<_> = chosen.collect();
        if chosen.is_empty() {
            report.leave_out("texts", "neither auto nor torchscript is measured");
            return Ok(());
        }
        let encode = EncodeOptions {
            truncation: Truncation::LongestFirst,
            details: false,
            ..Default::default()
        };
        let texts: Vec<Text<'_>> = self.chunk.texts().collect();
        let encodings = module.tokenizer()?.encode_batch(&texts, &encode)?;
        let tokens = encodings.iter().map(|encoding| encoding.len()).sum();
        let embed = |module: &Module| -> anyhow::Result<Embeddings> {
            let embeddings = module.embed(texts.iter().copied(), &options);
            embeddings.map_err(|error| self.chunk.blame(error))
        };
        let reference = embed(&module.with_engine_and_precision(None, Precision::F32)?)?;
        let mut found: Vec<Option<Embeddings>> = chosen.iter().map(|_| None).collect();
        let times = bench.pace.in_turns(
            chosen.len(),
            |turn| {
                let started = Instant::now();
                found[turn] = Some(embed(chosen[turn].1)?);
                Ok(started.elapsed().as_secs_f64())
            },
            say,
        )?;
        let found = found.into_iter().flatten();
        let qualities = found.map(|found| EmbeddingQuality::new(found, &reference));
        let qualities = qualities.collect::<Result<Vec<_>, _>>()?;
        let rows = chosen.iter().zip(times).zip(qualities);
        let rows = rows.map(|(((variant, _), seconds), quality)| {
            let median = quantile(&seconds, 0.5);
            TextRow {
                variant: *variant,
                runs: seconds.len(),
                texts_per_second: texts.len() as f64 / median,
                tokens_per_second: tokens as f64 / median,
                quality,
                seconds,
            }
        });
        let (name, rows) = (self.name.clone(), rows.collect());
        report.texts = Some(TextRows { name, texts: texts.len(), tokens, rows });
        Ok(())
    }
}
