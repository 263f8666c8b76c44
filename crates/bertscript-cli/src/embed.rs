//! `bertscript embed`

use crate::options::RunOptions;
use crate::output;
use crate::progress::Progress;
use crate::sink::{Sink, Target};
use crate::stream::{self, Chunks};
use bertscript::{Cancel, EmbedOptions, ErrorKind, LongTexts, Module, PoolingMode};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Embed texts.
///
/// Texts are read one a line and embedded as they come, so the input may be of
/// any size. Where the checkpoint was a sentence-transformers model, its pipeline
/// (pooling, dense layers, normalisation, prompts) is followed. Ctrl-C stops,
/// and what is done is kept.
#[derive(Args)]
pub(crate) struct Embed {
    /// The exported file
    file: PathBuf,
    /// The texts, one a line [default: standard input]
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Where the embeddings go: .npy, .safetensors or .jsonl; or - or
    /// /dev/stdout, which get JSON lines [default: -]
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
    /// The budget of a batch, in tokens with padding [default: 4096 on the CPU, 32768
    /// on a CUDA device]
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
        let target = Target::new(self.output.as_deref())?;
        target.check([&self.file, stream::source(self.input.as_deref())])?;
        let progress = Progress::start("loading");
        let module = self.options.load(&self.file)?;
        let cancel = cancel_on_interrupt()?;
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
        let width = module.embedding_dim(&options)?;
        let mut sink = target.open(width as u64)?;
        progress.stage("embedding");
        let mut done = Done::default();
        let result = self.run(&module, &options, &mut sink, &mut done, &progress);
        let closed = matches!(&result, Err(error) if is_closed_pipe(error));
        // Whatever stopped it, what is done is kept; all but what cannot be written.
        sink.finish()?;
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
            output::say(&format!("interrupted; the embeddings of {} texts are kept", done.texts));
            return Ok(ExitCode::from(130));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn run(
        &self,
        module: &Module,
        options: &EmbedOptions,
        sink: &mut Sink,
        done: &mut Done,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        for chunk in Chunks::open(self.input.as_deref(), self.jsonl, options.cancel.clone())? {
            let chunk = chunk?;
            let embeddings = match module.embed(chunk.texts(), options) {
                Err(error) if error.kind() == ErrorKind::Cancelled => return Ok(()),
                other => other.map_err(|error| chunk.blame(error))?,
            };
            sink.write(embeddings.rows())?;
            done.texts += embeddings.len();
            done.truncated += embeddings.truncated().len();
            let speed = done.texts as f64 / started.elapsed().as_secs_f64();
            progress.say(format!("embedding: {} texts, {speed:.0} a second", done.texts));
        }
        Ok(())
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
