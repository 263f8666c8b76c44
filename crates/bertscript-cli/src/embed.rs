//! `bertscript embed`

use crate::options::RunOptions;
use crate::output;
use crate::progress::Progress;
use crate::quantize::Results;
use crate::sink::{Row, Sink, Target};
use crate::stream::{self, Chunk, Chunks};
use anyhow::bail;
use bertscript::{
    Cancel, EmbedOptions, EmbedSparseOptions, EmbeddingPipeline, EmbeddingPrecision, ErrorKind,
    LongTexts, Module, PoolingMode,
};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Embed texts.
///
/// Texts are read one a line and embedded as they come, so the input may be of
/// any size. Where the checkpoint was a sentence-transformers model, its pipeline
/// (pooling, dense layers, normalisation, prompts) is followed. Where it was a
/// SparseEncoder (SPLADE), embeddings are sparse: indices and values of the
/// dimensions that are not zero. Ctrl-C stops, and what is done is kept.
#[derive(Args)]
pub(crate) struct Embed {
    /// The exported file
    file: PathBuf,
    /// The texts, one a line [default: standard input]
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Where the embeddings go: .npy, .safetensors or .jsonl; sparse ones to .npz, which
    /// scipy.sparse.load_npz reads, or .jsonl; or - or /dev/stdout, which get JSON lines
    /// [default: -]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Each line of the input is JSON: a string, or an object with text
    #[arg(long)]
    jsonl: bool,
    /// How hidden states are pooled: cls, max, mean, mean_sqrt_len_tokens,
    /// weightedmean, lasttoken, or several [default: the file's pipeline]
    #[arg(long, value_name = "MODE", value_delimiter = ',')]
    pooling: Option<Vec<PoolingMode>>,
    /// Bring embeddings to length 1 even where the pipeline does not
    #[arg(long)]
    normalize: bool,
    /// Which prompt of the file is put before every text
    #[arg(long, value_name = "NAME", conflicts_with = "prompt")]
    prompt_name: Option<String>,
    /// What is put before every text
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Keep only the first dimensions
    #[arg(long, value_name = "N")]
    truncate_dim: Option<usize>,
    /// The format that embeddings are stored in: float32; float16; int8 or uint8, by
    /// --ranges; binary or ubinary, a bit for each dimension
    #[arg(long, value_name = "NAME", default_value = "float32")]
    embedding_precision: EmbeddingPrecision,
    /// The range of each dimension, for int8 and uint8: [2, D], float32, .npy or
    /// .safetensors
    #[arg(long, value_name = "FILE")]
    ranges: Option<PathBuf>,
    /// Write the range of each dimension of the embeddings, to .npy or .safetensors,
    /// instead of the embeddings
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["output", "embedding_precision", "ranges"]
    )]
    write_ranges: Option<PathBuf>,
    /// Of sparse embeddings, keep only so many dimensions, those of the largest values
    /// [default: as the file says]
    #[arg(long, value_name = "N")]
    max_active_dims: Option<usize>,
    /// The budget of a batch, in tokens with padding [default: 4096; 32768 on a CUDA
    /// device, unless embeddings are sparse]
    #[arg(long, value_name = "N")]
    batch_tokens: Option<usize>,
    /// What becomes of texts longer than the model takes: truncate, refuse or
    /// window
    #[arg(long, value_name = "HOW", default_value = "truncate")]
    long_texts: LongTexts,
    /// Read special tokens in the text as plain text, as untrusted text should be
    /// [default: as tokenizer_config.json says]
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    split_special_tokens: Option<bool>,
    /// The max length of a text in tokens, special tokens included [default: the
    /// model's]
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    #[command(flatten)]
    options: RunOptions,
}

impl Embed {
    pub(crate) fn execute(self) -> anyhow::Result<ExitCode> {
        let target = match &self.write_ranges {
            Some(path) => Target::binary(path)?,
            None => Target::new(self.output.as_deref())?,
        };
        let input = stream::source(self.input.as_deref());
        let inputs = [Some(&*self.file), Some(input), self.ranges.as_deref()];
        target.check(inputs.into_iter().flatten())?;
        let progress = Progress::start("loading");
        let module = self.options.load(&self.file)?;
        let cancel = cancel_on_interrupt()?;
        // Before the output is opened: without texts, it stays as it is.
        let chunks = Chunks::open(self.input.as_deref(), self.jsonl, cancel.clone())?;
        let mut task = self.task(&module, target, &cancel)?;
        progress.stage("embedding");
        let mut done = Done::default();
        let result = task.run(&module, chunks, &mut done, &progress);
        let closed = matches!(&result, Err(error) if is_closed_pipe(error));
        // Whatever stopped it, what is done is kept; all but what cannot be written.
        task.finish(result.is_ok() && !cancel.is_cancelled())?;
        drop(progress);
        if done.truncated > 0 {
            let limit = self.max_length.unwrap_or(module.tokenizer()?.max_length());
            output::say(&format!(
                "longer than {limit} tokens, and truncated: {} of {} texts (--long-texts chooses otherwise)",
                done.truncated, done.texts
            ));
        }
        if !closed {
            result?;
        }
        if cancel.is_cancelled() {
            let kept = match self.write_ranges {
                Some(_) => "no ranges were written".to_owned(),
                None => format!("the embeddings of {} texts are kept", done.texts),
            };
            output::say(&format!("interrupted; {kept}"));
            return Ok(ExitCode::from(130));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What the file makes, unless a pooling is asked for, which makes dense embeddings.
    fn task<'a>(
        &'a self,
        module: &Module,
        target: Target<'a>,
        cancel: &Cancel,
    ) -> anyhow::Result<Task<'a>> {
        // Of an archive of another program, it is said what it is.
        let is_sparse = self.pooling.is_none()
            && module.metadata().is_some()
            && module.pipeline()?.is_some_and(EmbeddingPipeline::is_sparse);
        if !is_sparse {
            if self.max_active_dims.is_some() {
                bail!("--max-active-dims is for sparse embeddings, and these are dense");
            }
            target.check_form(false)?;
            let options = EmbedOptions {
                pooling: self.pooling.clone(),
                normalize: self.normalize,
                prompt: self.prompt.clone(),
                prompt_name: self.prompt_name.clone(),
                truncate_dim: self.truncate_dim,
                long_texts: self.long_texts,
                split_special_tokens: self.split_special_tokens,
                max_length: self.max_length,
                batch_tokens: self.batch_tokens,
                cancel: cancel.clone(),
            };
            let dim = module.embedding_dim(&options)?;
            let (precision, ranges) = (self.embedding_precision, self.ranges.as_deref());
            let results = match self.write_ranges {
                Some(_) => Results::ranges(target),
                None => Results::stored(target, dim, precision, ranges)?,
            };
            return Ok(Task::Dense(options, results));
        }
        let is_stored_otherwise = self.embedding_precision != EmbeddingPrecision::Float32;
        let dense = [
            ("--normalize", self.normalize),
            ("--truncate-dim", self.truncate_dim.is_some()),
            ("--embedding-precision", is_stored_otherwise),
            ("--ranges", self.ranges.is_some()),
            ("--write-ranges", self.write_ranges.is_some()),
        ];
        if let Some((option, _)) = dense.iter().find(|(_, is_given)| *is_given) {
            bail!("{option} is for dense embeddings, and those of the file are sparse");
        }
        target.check_form(true)?;
        let options = EmbedSparseOptions {
            max_active_dims: self.max_active_dims,
            prompt: self.prompt.clone(),
            prompt_name: self.prompt_name.clone(),
            long_texts: self.long_texts,
            split_special_tokens: self.split_special_tokens,
            max_length: self.max_length,
            batch_tokens: self.batch_tokens,
            cancel: cancel.clone(),
        };
        let dim = module.sparse_embedding_dim(&options)?;
        Ok(Task::Sparse(options, target.open(dim, self.embedding_precision)?))
    }
}

/// The embeddings that are made, and what becomes of them.
enum Task<'a> {
    Dense(EmbedOptions, Results<'a>),
    Sparse(EmbedSparseOptions, Sink),
}

impl Task<'_> {
    fn run(
        &mut self,
        module: &Module,
        chunks: Chunks,
        done: &mut Done,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        for chunk in chunks {
            let chunk = chunk?;
            let truncated = match self.embed(module, &chunk)? {
                Some(truncated) => truncated,
                None => return Ok(()),
            };
            done.texts += chunk.texts.len();
            done.truncated += truncated;
            let speed = done.texts as f64 / started.elapsed().as_secs_f64();
            progress.say(format!("embedding: {} texts, {speed:.0} a second", done.texts));
        }
        Ok(())
    }

    /// Embeds a chunk, and says how many texts were truncated; none if it was cancelled.
    fn embed(&mut self, module: &Module, chunk: &Chunk) -> anyhow::Result<Option<usize>> {
        let blame = |error: bertscript::Error| match error.kind() {
            ErrorKind::Cancelled => Ok(None),
            _ => Err(chunk.blame(error)),
        };
        match self {
            Self::Dense(options, results) => match module.embed(chunk.texts(), options) {
                Err(error) => blame(error),
                Ok(found) => {
                    results.add(&found)?;
                    Ok(Some(found.truncated().len()))
                }
            },
            Self::Sparse(options, sink) => match module.embed_sparse(chunk.texts(), options) {
                Err(error) => blame(error),
                Ok(found) => {
                    let rows = found.rows();
                    sink.write(rows.map(|(indices, values)| Row::Sparse { indices, values }))?;
                    Ok(Some(found.truncated().len()))
                }
            },
        }
    }

    /// Completes the file, which now appears; ranges only if they are of all texts.
    fn finish(self, is_whole: bool) -> anyhow::Result<()> {
        match self {
            Self::Dense(_, results) => results.finish(is_whole),
            Self::Sparse(_, sink) => sink.finish(),
        }
    }
}

#[derive(Default)]
struct Done {
    texts: usize,
    truncated: usize,
}

/// A reader that has gone away, as `head` does.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.root_cause().downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// The first interrupt asks the work to stop, the second stops the process.
pub(crate) fn cancel_on_interrupt() -> anyhow::Result<Cancel> {
    let cancel = Cancel::default();
    let handle = cancel.clone();
    ctrlc::set_handler(move || {
        if handle.is_cancelled() {
            std::process::exit(130);
        }
        handle.cancel();
    })?;
    Ok(cancel)
}
