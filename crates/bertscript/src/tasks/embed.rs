//! Embeddings of texts.
//!
//! Source: `SentenceTransformer.encode`, <https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/sentence_transformer/model.py>

use super::batches::{BatchOf, Pass};
use super::heads::EMBED;
use super::options::{Cancel, LongTexts};
use crate::embedding::{EmbeddingPipeline, PoolingMode, normalize, pool_rows, pooled_tokens};
use crate::engine::{BatchOutput, Want};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{collect, copied, filled};
use crate::module::Module;
use crate::tensor::Tensor;
use crate::text::{EncodeOptions, Encoding, Text};
use bertscript_kernels::{Matrix, Solo};

/// How to embed.
#[derive(Debug, Clone, Default)]
pub struct EmbedOptions {
    /// How hidden states are pooled; otherwise by the file's pipeline.
    pub pooling: Option<Vec<PoolingMode>>,
    /// Whether embeddings are brought to length 1 where the pipeline does not.
    pub normalize: bool,
    /// What is put before every text, if not a prompt of the file.
    pub prompt: Option<String>,
    /// Which prompt of the file is put before every text; without it and
    /// `prompt`, the file's default.
    pub prompt_name: Option<String>,
    /// How many dimensions are kept; otherwise what the pipeline says.
    pub truncate_dim: Option<usize>,
    /// What becomes of long texts. The embedding of windows is their mean,
    /// weighted by their tokens.
    pub long_texts: LongTexts,
    /// Whether special tokens in a text are read as plain text, as untrusted text
    /// should be; if none, as the tokenizer's configuration says.
    pub split_special_tokens: Option<bool>,
    /// The max length of a text in tokens, special tokens included, at most the
    /// model's; the model's if none.
    pub max_length: Option<usize>,
    /// The budget of a batch, in tokens with padding; otherwise what suits the device,
    /// 4096 on the CPU and 32768 on a CUDA device.
    pub batch_tokens: Option<usize>,
    /// Stops the task.
    pub cancel: Cancel,
}

/// Embeddings of texts: a row for each, in the order of the texts.
#[derive(Debug, Clone)]
pub struct Embeddings {
    /// `[N,D]`, float32, on the CPU.
    values: Tensor,
    width: usize,
    truncated: Vec<usize>,
}

impl Embeddings {
    fn new(rows: Rows) -> Result<Self> {
        let Rows { values, width, truncated } = rows;
        let shape = [values.len() / width, width];
        Ok(Self { values: Tensor::new(values, shape)?, width, truncated })
    }

    /// The number of texts, `N`.
    pub fn len(&self) -> usize {
        self.values.shape()[0]
    }

    /// Whether there was no text.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The dimension of an embedding, `D`.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The embedding of a text.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.as_slice()[index * self.width..(index + 1) * self.width]
    }

    /// The embeddings.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.as_slice().chunks_exact(self.width)
    }

    /// All values, row after row.
    pub fn as_slice(&self) -> &[f32] {
        self.values.as_slice().expect("they are made as float32 on the CPU")
    }

    /// The embeddings as a tensor `[N,D]` of float32.
    pub fn tensor(&self) -> &Tensor {
        &self.values
    }

    /// The texts that were truncated, by number.
    pub fn truncated(&self) -> &[usize] {
        &self.truncated
    }
}

impl AsRef<Tensor> for Embeddings {
    fn as_ref(&self) -> &Tensor {
        &self.values
    }
}

/// What [`Embeddings`] are made of.
pub(super) struct Rows {
    pub(super) values: Vec<f32>,
    width: usize,
    pub(super) truncated: Vec<usize>,
}

impl Module {
    /// Embeds texts.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the file cannot embed: it has no tokenizer,
    /// or no pipeline and `pooling` is not given, or is another architecture than
    /// model without a head.
    pub fn embed<'a, T: Into<Text<'a>>>(
        &self,
        texts: impl IntoIterator<Item = T>,
        options: &EmbedOptions,
    ) -> Result<Embeddings> {
        Embeddings::new(self.embed_rows(texts, options)?)
    }

    /// Embeds texts to memory of the caller's, row after row, the same numbers as
    /// [`Self::embed`]; the texts that were truncated, by number.
    ///
    /// # Errors
    /// Those of [`Self::embed`]; [`ErrorKind::InvalidInput`] if the embeddings do not
    /// fill `room`.
    pub fn embed_into<'a, T: Into<Text<'a>>>(
        &self,
        texts: impl IntoIterator<Item = T>,
        options: &EmbedOptions,
        room: &mut [f32],
    ) -> Result<Vec<usize>> {
        let texts: Vec<Text<'a>> = collect(texts.into_iter().map(Into::into))?;
        let width = self.embedding_dim(options)?;
        if texts.len().checked_mul(width) != Some(room.len()) {
            let (found, rows) = (room.len(), texts.len());
            let message = format!("found {found} values, expected {rows} rows of {width}");
            return Err(Error::new(ErrorKind::InvalidInput, message).at("room"));
        }
        let rows = self.embed_rows(texts, options)?;
        room.copy_from_slice(&rows.values);
        Ok(rows.truncated)
    }

    /// The dimension of the embeddings that [`Self::embed`] makes by these options.
    ///
    /// # Errors
    /// Those of [`Self::embed`], but for the ones of texts.
    pub fn embedding_dim(&self, options: &EmbedOptions) -> Result<usize> {
        let chosen = options.pooling.clone().map(EmbeddingPipeline::pooling);
        let (_output, pipeline) = self.pooled_output(chosen.as_ref())?;
        self.prompt(options.prompt.as_deref(), options.prompt_name.as_deref())?;
        self.tokenizer()?;
        Ok(self.dimensions(pipeline, options)?.1)
    }

    /// The output that is pooled, and the pipeline: the chosen one, or the file's.
    fn pooled_output<'a>(
        &'a self,
        chosen: Option<&'a EmbeddingPipeline>,
    ) -> Result<(usize, &'a EmbeddingPipeline)> {
        let pipeline = chosen.map_or_else(|| self.pipeline(), |chosen| Ok(Some(chosen)));
        if let Ok(Some(sparse)) = &pipeline
            && sparse.is_sparse()
        {
            let message = format!(
                "embed makes dense embeddings, but the file makes sparse ones ({sparse}); embed_sparse makes them"
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let [output] = self.outputs_of(&EMBED)?;
        Ok((output, pipeline?.ok_or_else(no_pipeline)?))
    }

    /// How many dimensions a pipeline gives, and how many of them are kept.
    fn dimensions(
        &self,
        pipeline: &EmbeddingPipeline,
        options: &EmbedOptions,
    ) -> Result<(usize, usize)> {
        pipeline.pools()?;
        let hidden_size = self.archive().map_or(0, |archive| archive.config().hidden_size());
        let width = pipeline.dimension(hidden_size) as usize;
        let kept = options.truncate_dim.or(pipeline.truncate_dim).unwrap_or(width);
        if !(1..=width).contains(&kept) {
            let message = format!("found {kept}, expected 1 to {width}");
            return Err(Error::new(ErrorKind::InvalidInput, message).at("truncate_dim"));
        }
        Ok((width, kept))
    }

    pub(super) fn embed_rows<'a, T: Into<Text<'a>>>(
        &self,
        texts: impl IntoIterator<Item = T>,
        options: &EmbedOptions,
    ) -> Result<Rows> {
        let chosen = options.pooling.clone().map(EmbeddingPipeline::pooling);
        let (output, pipeline) = self.pooled_output(chosen.as_ref())?;
        let (width, kept) = self.dimensions(pipeline, options)?;
        let prompt = self.prompt(options.prompt.as_deref(), options.prompt_name.as_deref())?;
        let texts: Vec<Text<'a>> = collect(texts.into_iter().map(Into::into))?;
        let encode = EncodeOptions {
            split_special_tokens: options.split_special_tokens,
            max_length: options.max_length,
            details: false,
            ..EncodeOptions::default()
        };
        let encodings =
            self.encode_prompted(&prompt, &texts, options.long_texts, encode.clone())?;
        let prompt_length = self.prompt_length(&prompt, encode)?;

        // Of several windows of a text, the first begins with the prompt.
        let begins = |index: usize| {
            let before = index.checked_sub(1).map(|before| encodings[before].sample);
            before != Some(encodings[index].sample)
        };
        let (modes, include_prompt) = pipeline.pools()?;
        let skipped = |index: &usize| match include_prompt || !begins(*index) {
            true => 0,
            false => prompt_length,
        };
        let pass = Pass { batch_tokens: options.batch_tokens, cancel: &options.cancel };
        let pooled = self.run_batches(&encodings, &pass, |indices, batch| {
            let skipped = collect(indices.iter().map(skipped))?;
            if pipeline.pools_hidden_states() {
                return batch.one(&Want::Pooled { output, modes, skipped: &skipped });
            }
            pool_stages(batch, output, pipeline, &skipped).map(BatchOutput::Host)
        })?;
        // A device works on one batch while the next is made ready.
        self.wait()?;
        let mut values = filled(encodings.len() * width, 0.)?;
        for (indices, pooled) in pooled {
            let embeddings = pipeline.after_pooling(&Solo, pooled.into_matrix()?)?;
            for (from, to) in indices.into_iter().enumerate() {
                values[to * width..(to + 1) * width].copy_from_slice(embeddings.row(from));
            }
        }
        if encodings.len() > texts.len() {
            values = mean_of_windows(&values, &encodings, texts.len(), width)?;
            if pipeline.normalizes() {
                values.chunks_exact_mut(width).for_each(normalize);
            }
        }
        if kept < width {
            for row in 0..texts.len() {
                values.copy_within(row * width..row * width + kept, row * kept);
            }
            values = copied(&values[..texts.len() * kept])?;
        }
        if options.normalize {
            values.chunks_exact_mut(kept).for_each(normalize);
        }
        let truncated = encodings.iter().filter(|encoding| encoding.truncated);
        let truncated = collect(truncated.map(|encoding| encoding.sample))?;
        Ok(Rows { values, width: kept, truncated })
    }

    /// How alike two sets of embeddings are, `[N,D]` and `[M,D]` to `[N,M]`, in
    /// the measure that the file's pipeline names; cosine without one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for tensors of another form, or of two widths.
    pub fn similarity(&self, a: impl AsRef<Tensor>, b: impl AsRef<Tensor>) -> Result<Tensor> {
        let pipeline = self.pipeline().ok().flatten();
        pipeline.map(|pipeline| pipeline.similarity).unwrap_or_default().of(a, b)
    }
}

/// Pools what the stages before pooling make of the hidden states of tokens.
fn pool_stages(
    batch: &BatchOf<'_>,
    output: usize,
    pipeline: &EmbeddingPipeline,
    skipped: &[usize],
) -> Result<Matrix<f32>> {
    let (modes, _) = pipeline.pools()?;
    let [hidden] = batch.outputs([output])?;
    let tokens = pooled_tokens(batch.batch.ranges(), modes, skipped)?;
    let rows = pipeline.before_pooling(batch.team, hidden)?;
    pool_rows(&rows, &tokens, modes, skipped)
}

fn no_pipeline() -> Error {
    let message = "the file has no sentence-transformers pipeline (modules.json); choose how to pool, with --pooling or `pooling`, such as mean";
    Error::new(ErrorKind::Unsupported, message)
}

/// The mean of each text's windows, weighted by their tokens.
fn mean_of_windows(
    values: &[f32],
    encodings: &[Encoding],
    texts: usize,
    width: usize,
) -> Result<Vec<f32>> {
    let mut tokens = filled(texts, 0)?;
    for encoding in encodings {
        tokens[encoding.sample] += encoding.len();
    }
    let mut mean = filled(texts * width, 0.)?;
    for (row, encoding) in values.chunks_exact(width).zip(encodings) {
        let weight = encoding.len() as f32 / tokens[encoding.sample] as f32;
        let sum = &mut mean[encoding.sample * width..(encoding.sample + 1) * width];
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value * weight);
    }
    Ok(mean)
}
