//! `bertscript bench`

mod measure;
mod page;
mod report;
mod start;
mod texts;
mod variants;

use crate::embed::cancel_on_interrupt;
use crate::output;
use crate::progress::Progress;
use anyhow::{Context, bail};
use bertscript::{
    Archive, Cancel, Device, Dtype, FixedShape, Metadata, Module, Shapes, WholeFile, check_output,
};
use clap::Args;
use measure::{Bench as Measure, CEILING_SIZES, Pace};
use report::{FileInfo, Machine, Mixed, Report, Settings};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use texts::Texts;
use variants::{Batch, Kinds, Random, Runner, Variant};

/// The lengths that are measured, unless told otherwise.
const LENGTHS: [i64; 6] = [16, 64, 128, 256, 384, 512];
/// The texts of a batch of all lengths.
const MIXED: usize = 64;
/// The shortest of them.
const MIN_LENGTH: i64 = 8;

/// Measure an exported file on this machine.
///
/// Every variant is run at every length and batch size, in turns, and held against
/// the eager model in float32 and against the best matrix product that libtorch
/// reaches here. Then follow a batch of texts of all lengths, and what a process
/// pays before its first result. Ctrl-C stops, and what is done is printed.
#[derive(Args)]
#[command(after_help = "\
Examples:
  bertscript bench minilm.pt
  bertscript bench minilm.pt --lengths 32,128 --batches 1,16 --variants auto,torchscript
  bertscript bench minilm.pt --dtype bf16 --text texts.txt --html bench.html")]
pub(crate) struct Bench {
    /// The exported file
    file: PathBuf,
    /// The sequence lengths, in tokens [default: 16 to 512, as far as the model
    /// takes them]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(i64).range(1..))]
    lengths: Option<Vec<i64>>,
    /// The batch sizes
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,8,32")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    batches: Vec<u16>,
    /// What is measured [default: all]
    #[arg(long, value_name = "VARIANT", value_delimiter = ',')]
    variants: Option<Vec<Variant>>,
    /// How often each is measured
    #[arg(long, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
    rounds: u16,
    /// How often each runs before
    #[arg(long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=1000))]
    warm_up: u16,
    /// What one shape may take, all variants together; of one that is slower, fewer
    /// rounds are measured, but at least three
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    seconds: u32,
    /// Texts, one a line, which are embedded end to end
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Write everything as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with charts
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// The device: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Cast the weights: f32, f16 or bf16 [default: the file's]
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<Dtype>,
    /// Number of threads, 1 to 4096 [default: the cores that it may run on]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Option<u16>,
    #[arg(long, hide = true)]
    start: Option<Variant>,
}

impl Bench {
    pub(crate) fn execute(self) -> anyhow::Result<ExitCode> {
        if let Some(threads) = self.threads {
            bertscript::set_thread_count(threads.into());
        }
        let load = || Module::load(&self.file, self.device, self.dtype);
        if let Some(variant) = self.start {
            start::answer(variant, load)?;
            return Ok(ExitCode::SUCCESS);
        }
        // Whoever cannot write must not learn so at the end.
        let open = |path| Output::open(path, [&self.file].into_iter().chain(&self.text));
        let json = self.json.as_deref().map(open).transpose()?;
        let html = self.html.as_deref().map(open).transpose()?;
        let texts = self.text.as_deref().map(Texts::read).transpose()?;
        let progress = Progress::start("loading");
        let module = load()?;
        let cancel = cancel_on_interrupt()?;
        let mut report = self.report(&module)?;
        let measured = self.measure(&module, texts, &mut report, &cancel, &progress);
        let interrupted = measured.is_err() && cancel.is_cancelled();
        if !interrupted {
            measured?;
        }
        report.relate();
        drop(progress);
        output::print(&report.text())?;
        if interrupted {
            output::say("interrupted; no file was written");
            return Ok(ExitCode::from(130));
        }
        if let Some(json) = json {
            json.finish(&(serde_json::to_string_pretty(&report)? + "\n"))?;
        }
        if let Some(html) = html {
            html.finish(&page::page(&report)?)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// A report that holds what is known before anything ran.
    fn report(&self, module: &Module) -> anyhow::Result<Report> {
        let metadata = known(module)?.metadata();
        let name = self.file.file_name().unwrap_or(self.file.as_os_str());
        let variants = self.variants.as_deref().unwrap_or(&Variant::ALL);
        let chosen = Variant::ALL.into_iter().filter(|variant| variants.contains(variant));
        Ok(Report {
            bertscript_version: env!("CARGO_PKG_VERSION"),
            torch_version: bertscript::TORCH_VERSION,
            debug_build: cfg!(debug_assertions),
            machine: Machine::here(),
            file: FileInfo {
                name: name.display().to_string(),
                bytes: std::fs::metadata(&self.file).map_or(0, |found| found.len()),
                metadata: metadata.clone(),
            },
            settings: Settings {
                device: self.device.to_string(),
                dtype: module.dtype().name(),
                variants: chosen.collect(),
                rounds: self.rounds.into(),
                warm_up: self.warm_up.into(),
                seconds: self.seconds.into(),
            },
            ceilings: Vec::new(),
            shapes: Vec::new(),
            mixed: None,
            texts: None,
            starts: Vec::new(),
            left_out: Vec::new(),
        })
    }

    fn measure(
        &self,
        module: &Module,
        texts: Option<Texts>,
        report: &mut Report,
        cancel: &Cancel,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let kinds = kinds(module)?;
        let shapes = self.shapes(module, kinds)?;
        let mut runners = Vec::new();
        for variant in report.settings.variants.clone() {
            progress.say(format!("preparing {variant}"));
            match Runner::new(variant, module)? {
                Ok(runner) => runners.push((variant, runner)),
                Err(reason) => report.leave_out(variant.name(), reason),
            }
        }
        if runners.is_empty() {
            let found =
                report.left_out.iter().map(|left| format!("{}: {}", left.what, left.reason));
            bail!("no variant is left to measure; {}", found.collect::<Vec<_>>().join("; "));
        }
        for (variant, _) in &runners {
            if cancel.is_cancelled() {
                bail!("interrupted");
            }
            progress.say(format!("starting {variant} in a process of its own"));
            report.starts.push(start::ask(*variant, &self.file, module, kinds)?);
        }
        progress.stage("measuring the ceiling");
        let (device, dtype) = (module.device(), module.dtype());
        let others = [Dtype::F32, Dtype::BF16].into_iter().filter(|other| *other != dtype);
        for dtype in std::iter::once(dtype).chain(others) {
            report.raise(measure::ceiling(dtype, device, &CEILING_SIZES, cancel)?);
        }
        let archive = known(module)?;
        let model = archive.config().model(archive.metadata().architecture()?)?;
        let pace = Pace {
            warm_up: self.warm_up.into(),
            rounds: self.rounds.into(),
            seconds: self.seconds.into(),
            cancel: cancel.clone(),
        };
        let mut measure = Measure {
            runners,
            reference: variants::reference(&self.file, module)?,
            model,
            max_length: kinds.max_length,
            pace: &pace,
            padded_sequence: None,
            ceiling: report.ceilings[0].gflops * 1e9,
        };
        for (number, (batch, length)) in shapes.iter().enumerate() {
            let place =
                format!("batch {batch}, length {length}, {} of {}", number + 1, shapes.len());
            let batch = Batch::new(&vec![*length; usize::from(*batch)], kinds)?;
            let (rows, long) =
                measure.measure(&batch, |s| progress.say(format!("{place}: {s}")))?;
            report.shapes.extend(rows);
            // A machine that is busy now and then is not when its best is measured.
            report.raise(measure::ceiling(dtype, device, &CEILING_SIZES[..2], cancel)?);
            if let Some(reason) = long {
                report.leave_out(format!("fixed-pad at length {length}"), reason);
            }
        }
        let longest = shapes.iter().map(|(_, length)| *length).max().unwrap_or(1);
        if archive.metadata().shapes == Shapes::Any {
            let lengths = mixed(longest);
            let batch = Batch::new(&lengths, kinds)?;
            let say = |stage| progress.say(format!("all lengths: {stage}"));
            let (rows, long) = measure.measure(&batch, say)?;
            report.mixed = Some(Mixed { lengths, rows });
            if let Some(reason) = long {
                report.leave_out("fixed-pad at all lengths", reason);
            }
        } else {
            report.leave_out("a batch of all lengths", "the program is of fixed shapes");
        }
        if let Some(texts) = texts {
            let say = |stage| progress.say(format!("texts: {stage}"));
            texts.measure(module, &measure, report, say)?;
        }
        progress.stage("measuring the ceiling once more");
        report.raise(measure::ceiling(dtype, device, &CEILING_SIZES, cancel)?);
        Ok(())
    }

    /// Batch sizes and lengths that are measured: all that the file takes.
    fn shapes(&self, module: &Module, kinds: Kinds) -> anyhow::Result<Vec<(u16, i64)>> {
        let most = kinds.max_length;
        let mut lengths = match &self.lengths {
            Some(lengths) => lengths.clone(),
            None => LENGTHS.map(|length| length.min(most)).to_vec(),
        };
        lengths.dedup();
        if let Some(long) = lengths.iter().find(|length| **length > most) {
            bail!("--lengths: found {long}, the model takes 1 to {most}");
        }
        let all = self.batches.iter().flat_map(|b| lengths.iter().map(move |length| (*b, *length)));
        let traced = &known(module)?.metadata().shapes;
        let fits = |(batch, length): &(u16, i64)| {
            let mut takes =
                traced.fixed().iter().map(|shape| (shape.sizes().first(), shape.sizes().last()));
            let is_within = |most: Option<&i64>, size| most.is_some_and(|most| size <= *most);
            *traced == Shapes::Any
                || takes.any(|(b, s)| is_within(b, i64::from(*batch)) && is_within(s, *length))
        };
        let shapes: Vec<_> = all.filter(fits).collect();
        if shapes.is_empty() {
            bail!(
                "no batch size and length fits the shapes that the file was traced for: {traced}"
            );
        }
        Ok(shapes)
    }
}

/// Only a file of this library says what model it is.
fn known(module: &Module) -> anyhow::Result<&Archive> {
    module.archive().context("bench needs a file that bertscript exported")
}

/// What inputs a file takes.
fn kinds(module: &Module) -> anyhow::Result<Kinds> {
    let Metadata { inputs, limits, shapes, .. } = known(module)?.metadata();
    let has_choices = inputs.first().is_some_and(|input| input.shape.len() == 3);
    let sizes = || shapes.fixed().iter().map(FixedShape::sizes);
    let fixed = |at: usize| sizes().filter_map(move |sizes| sizes.get(at)).copied();
    let most = fixed(if has_choices { 2 } else { 1 }).max();
    Ok(Kinds {
        vocab_size: limits.vocab_size,
        max_length: most.unwrap_or(limits.max_position_embeddings),
        choices: has_choices.then(|| fixed(1).min().map_or(2, |choices| choices.min(2))),
    })
}

/// Lengths of texts as there are in the world: most are short, some are not.
fn mixed(longest: i64) -> Vec<i64> {
    let shortest = MIN_LENGTH.min(longest);
    let mut random = Random(MIXED as u64);
    let mut length = || shortest + ((longest - shortest + 1) as f64 * random.unit().powi(3)) as i64;
    (0..MIXED).map(|_| length()).collect()
}

/// A file for a report, opened before the work that it takes.
struct Output<'a> {
    file: WholeFile,
    path: &'a Path,
}

impl<'a> Output<'a> {
    fn open<'i>(path: &'a Path, inputs: impl Iterator<Item = &'i PathBuf>) -> anyhow::Result<Self> {
        check_output(path, inputs)?;
        Ok(Self { file: WholeFile::create(path)?, path })
    }

    fn finish(mut self, text: &str) -> anyhow::Result<()> {
        self.file
            .write_all(text.as_bytes())
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(self.file.finish()?)
    }
}
