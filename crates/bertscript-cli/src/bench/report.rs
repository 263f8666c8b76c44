//! What was measured, and how it is printed.

use super::start::Start;
use super::variants::Variant;
use crate::output;
use bertscript::{EmbeddingQuality, Metadata};
use serde::Serialize;

/// Everything that was measured; the file of `--json` is this.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) bertscript_version: &'static str,
    pub(super) torch_version: &'static str,
    /// Whether this command was built without all optimisation.
    pub(super) debug_build: bool,
    pub(super) machine: Machine,
    pub(super) file: FileInfo,
    pub(super) settings: Settings,
    pub(super) ceilings: Vec<Ceiling>,
    /// A row for each variant and shape.
    pub(super) shapes: Vec<Row>,
    pub(super) mixed: Option<Mixed>,
    pub(super) texts: Option<TextRows>,
    /// Each variant in a process of its own.
    pub(super) starts: Vec<Start>,
    pub(super) left_out: Vec<LeftOut>,
}

#[derive(Serialize)]
pub(super) struct Machine {
    pub(super) cpu: String,
    pub(super) features: Vec<String>,
    pub(super) cores: usize,
    pub(super) threads: usize,
}

#[derive(Serialize)]
pub(super) struct FileInfo {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) metadata: Metadata,
}

/// How it was measured.
#[derive(Serialize)]
pub(super) struct Settings {
    pub(super) device: String,
    pub(super) dtype: &'static str,
    pub(super) variants: Vec<Variant>,
    pub(super) rounds: usize,
    pub(super) warm_up: usize,
    pub(super) seconds: f64,
}

/// The most that libtorch's products reach in a dtype.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Ceiling {
    pub(super) dtype: &'static str,
    /// The width of the square matrices that reached it.
    pub(super) size: i64,
    pub(super) gflops: f64,
}

/// A variant on one batch. Rates are of the median, and of what is not padding.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) variant: Variant,
    pub(super) length: i64,
    pub(super) batch: usize,
    pub(super) runs: usize,
    pub(super) p50_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) sequences_per_second: f64,
    pub(super) tokens_per_second: f64,
    pub(super) gflops: f64,
    pub(super) of_ceiling: Option<f64>,
    pub(super) max_abs_difference: f64,
    pub(super) milliseconds: Vec<f64>,
}

/// One batch of texts of all lengths.
#[derive(Serialize)]
pub(super) struct Mixed {
    pub(super) lengths: Vec<i64>,
    pub(super) rows: Vec<Row>,
}

/// Texts end to end.
#[derive(Serialize)]
pub(super) struct TextRows {
    pub(super) name: String,
    pub(super) texts: usize,
    pub(super) tokens: usize,
    pub(super) rows: Vec<TextRow>,
}

#[derive(Serialize)]
pub(super) struct TextRow {
    pub(super) variant: Variant,
    pub(super) runs: usize,
    pub(super) texts_per_second: f64,
    pub(super) tokens_per_second: f64,
    /// Against the embeddings of the file in float32.
    pub(super) quality: EmbeddingQuality,
    pub(super) seconds: Vec<f64>,
}

/// What was not measured.
#[derive(Serialize)]
pub(super) struct LeftOut {
    pub(super) what: String,
    pub(super) reason: String,
}

impl Machine {
    /// What Linux says of the CPU.
    pub(super) fn here() -> Self {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let value = |key: &str| {
            let lines = text.lines().filter_map(|line| line.split_once(':'));
            let mut found = lines.filter(|(name, _)| name.trim() == key);
            found.next().map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let flags = value("flags");
        let known = ["avx2", "avx512f", "avx512_bf16", "amx_bf16"];
        let features = known.into_iter().filter(|name| flags.split(' ').any(|flag| flag == *name));
        let cpu = Some(value("model name")).filter(|name| !name.is_empty());
        Self {
            cpu: cpu.unwrap_or_else(|| "unknown CPU".to_owned()),
            features: features.map(str::to_owned).collect(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            threads: bertscript::thread_count(),
        }
    }
}

impl Report {
    /// Keeps the greater of two measurements of a ceiling.
    pub(super) fn raise(&mut self, found: Ceiling) {
        match self.ceilings.iter_mut().find(|known| known.dtype == found.dtype) {
            Some(known) if known.gflops >= found.gflops => {}
            Some(known) => *known = found,
            None => self.ceilings.push(found),
        }
    }

    /// Relates every row to the ceiling, which is known last.
    pub(super) fn relate(&mut self) {
        let dtype = self.settings.dtype;
        let ceiling = self.ceilings.iter().find(|ceiling| ceiling.dtype == dtype);
        let Some(most) = ceiling.map(|ceiling| ceiling.gflops) else { return };
        let mixed = self.mixed.iter_mut().flat_map(|mixed| &mut mixed.rows);
        let rows = self.shapes.iter_mut().chain(mixed);
        // Integers are multiplied faster than the numbers that the ceiling is of.
        for row in rows.filter(|row| row.variant != Variant::Int8) {
            row.of_ceiling = Some(row.gflops / most);
        }
    }

    pub(super) fn leave_out(&mut self, what: impl Into<String>, reason: impl Into<String>) {
        self.left_out.push(LeftOut { what: what.into(), reason: reason.into() });
    }

    /// What a person reads.
    pub(super) fn text(&self) -> String {
        let mut text = self.heading();
        if !self.shapes.is_empty() {
            text += &format!("\n{}", table(&self.shapes));
        }
        if let Some(mixed) = &self.mixed {
            text += &format!("\n{}\n{}", mixed.describe(), table(&mixed.rows));
        }
        if let Some(texts) = &self.texts {
            text += &format!("\n{}\n{}", texts.describe(), texts.table());
        }
        if !self.starts.is_empty() {
            let first = &self.starts[0];
            let heading = ["variant", "load ms", "first run ms", "peak memory"];
            let rows = self.starts.iter().map(|start| {
                let peak = start.peak_bytes.map_or("unknown".to_owned(), output::bytes);
                vec![start.variant.to_string(), short(start.load_ms), short(start.first_ms), peak]
            });
            text += &format!(
                "\nin a process of its own, first run of a text of {} tokens\n{}",
                first.length,
                with_heading(&heading, rows)
            );
        }
        text
    }

    fn heading(&self) -> String {
        let (file, machine, settings) = (&self.file, &self.machine, &self.settings);
        let ceilings = self.ceilings.iter().map(|ceiling| {
            let Ceiling { dtype, size, gflops } = ceiling;
            format!("{dtype} {gflops:.0} GFLOP/s ({size} x {size})")
        });
        let ceilings = ceilings.collect::<Vec<_>>().join(", ");
        let mut lines = vec![
            (
                "file",
                format!(
                    "{}, {}, {} parameters, {}",
                    file.name,
                    file.metadata.architecture,
                    output::count(file.metadata.parameter_count),
                    output::bytes(file.bytes)
                ),
            ),
            (
                "machine",
                format!(
                    "{}, {} cores, {}",
                    machine.cpu,
                    machine.cores,
                    match &machine.features[..] {
                        [] => "no vectors that are known".to_owned(),
                        features => features.join(" "),
                    }
                ),
            ),
            (
                "runs",
                format!(
                    "{} on {}, {} threads; bertscript {}{}, libtorch {}",
                    settings.dtype,
                    settings.device,
                    machine.threads,
                    self.bertscript_version,
                    if self.debug_build {
                        " (a debug build: the native engine is slower than in a release)"
                    } else {
                        ""
                    },
                    self.torch_version
                ),
            ),
        ];
        if !ceilings.is_empty() {
            lines.push(("ceiling", format!("libtorch's best product here: {ceilings}")));
        }
        for (i, left_out) in self.left_out.iter().enumerate() {
            let LeftOut { what, reason } = left_out;
            lines.push((if i == 0 { "left out" } else { "" }, format!("{what}: {reason}")));
        }
        lines.iter().map(|(key, value)| format!("{key:<9} {value}\n")).collect()
    }
}

impl Mixed {
    fn describe(&self) -> String {
        let (count, sum) = (self.lengths.len(), self.lengths.iter().sum::<i64>());
        let least = self.lengths.iter().min().unwrap_or(&0);
        let most = self.lengths.iter().max().unwrap_or(&0);
        let average = sum as f64 / count.max(1) as f64;
        format!("one batch of {count} texts of {least} to {most} tokens, {average:.0} on average")
    }
}

impl TextRows {
    fn describe(&self) -> String {
        let average = self.tokens as f64 / self.texts.max(1) as f64;
        format!(
            "{} texts of {}, {average:.0} tokens on average, embedded end to end; the embeddings \
             against those of float32",
            self.texts, self.name
        )
    }

    fn table(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            let speeds = [row.texts_per_second, row.tokens_per_second];
            let mut cells = vec![row.variant.to_string(), row.runs.to_string()];
            cells.extend(speeds.map(short));
            let quality = &row.quality;
            let cosines = [quality.min_cosine, quality.median_cosine, quality.spearman];
            cells.extend(cosines.map(|value| format!("{value:.5}")));
            let shares = [quality.nearest_kept, quality.top10_kept];
            cells.extend(shares.map(|share| format!("{:.1} %", share * 100.)));
            cells
        });
        let heading = [
            "variant",
            "runs",
            "texts/s",
            "tokens/s",
            "min cosine",
            "median cosine",
            "Spearman",
            "nearest kept",
            "top 10 kept",
        ];
        with_heading(&heading, rows)
    }
}

fn table(rows: &[Row]) -> String {
    let heading = [
        "variant",
        "length",
        "batch",
        "runs",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "sequences/s",
        "tokens/s",
        "GFLOP/s",
        "of ceiling",
        "max abs difference",
    ];
    let rows = rows.iter().map(|row| {
        let counts = [row.length as usize, row.batch, row.runs].map(|count| count.to_string());
        let times = [row.p50_ms, row.p90_ms, row.p99_ms].map(short);
        let speeds = [row.sequences_per_second, row.tokens_per_second, row.gflops].map(short);
        let mut cells = vec![row.variant.to_string()];
        cells.extend(counts);
        cells.extend(times);
        cells.extend(speeds);
        cells.push(row.of_ceiling.map_or("-".to_owned(), |share| format!("{:.0} %", share * 100.)));
        cells.push(match row.max_abs_difference {
            0. => "0".to_owned(),
            difference => format!("{difference:.1e}"),
        });
        cells
    });
    with_heading(&heading, rows)
}

fn with_heading(heading: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let heading = heading.iter().map(|&cell| cell.to_owned()).collect();
    output::table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())
}

/// Three digits that count, or all before the point.
fn short(value: f64) -> String {
    let places = match value.abs() {
        0.0..0.1 => 4,
        0.1..1. => 3,
        1.0..10. => 2,
        10.0..100. => 1,
        _ => 0,
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let values = [0.0123, 0.5, 3.456, 42.42, 1234.5].map(short);
        assert_eq!(values, ["0.0123", "0.500", "3.46", "42.4", "1234"]);
    }
}
