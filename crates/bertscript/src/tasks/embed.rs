//! Embeddings of texts.
//!
//! Source: `SentenceTransformer.encode`, <https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/sentence_transformer/model.py>

use super::batches::{BatchOf, Pass};
use super::heads::EMBED;
use super::options::{Cancel, LongTexts};
use crate::embedding::{EmbeddingPipeline, PoolingMode, normalize, pool_rows, pooled_tokens};
use crate::engine::{BatchOutput, Want};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{collect, filled, try_collect};
use crate::module::Module;
use crate::text::{EncodeOptions, Encoding, Text};
use bertscript_kernels::{Matrix, OutOfMemory, Solo};
use tch::Tensor;

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

/// The embeddings of texts.
#[derive(Debug)]
pub struct Embeddings {
    /// `[N,D]`, float32, on the CPU; in the order of the texts.
    pub values: Tensor,
    /// The texts whose end was cut off, by number.
    pub truncated: Vec<usize>,
}

impl Module {
    /// Embeds texts.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the file cannot embed: it has no tokenizer,
    /// or no pipeline and `pooling` is not given, or is another architecture than
    /// `BertModel`.
    pub fn embed<'a, T: Into<Text<'a>>>(
        &self,
        texts: impl IntoIterator<Item = T>,
        options: &EmbedOptions,
    ) -> Result<Embeddings> {
        let (values, truncated) = self.embed_rows(texts, options)?;
        Ok(Embeddings { values: tensor(&values)?, truncated })
    }

    /// Embeds texts to memory of the caller's, row after row, the same numbers as
    /// [`Self::embed`]; the texts whose end was cut off, by number.
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
        let (values, truncated) = self.embed_rows(texts, options)?;
        copy_rows(&values, room);
        Ok(truncated)
    }

    /// The dimension of the embeddings that [`Self::embed`] makes by these options.
    ///
    /// # Errors
    /// Those of [`Self::embed`], but for the ones of texts.
    pub fn embedding_dim(&self, options: &EmbedOptions) -> Result<usize> {
        let [_output] = self.outputs_of(&EMBED)?;
        let chosen = options.pooling.clone().map(EmbeddingPipeline::pooling);
        let pipeline = self.chosen_pipeline(chosen.as_ref())?;
        self.prompt(options)?;
        self.tokenizer()?;
        Ok(self.dimensions(pipeline, options)?.1)
    }

    fn chosen_pipeline<'a>(
        &'a self,
        chosen: Option<&'a EmbeddingPipeline>,
    ) -> Result<&'a EmbeddingPipeline> {
        chosen.map_or_else(|| self.pipeline()?.ok_or_else(no_pipeline), Ok)
    }

    /// How many dimensions a pipeline gives, and how many of them are kept.
    fn dimensions(
        &self,
        pipeline: &EmbeddingPipeline,
        options: &EmbedOptions,
    ) -> Result<(usize, usize)> {
        pipeline.pools()?;
        let hidden_size = self.archive().map_or(0, |archive| archive.config().hidden_size);
        let width = pipeline.dimension(hidden_size) as usize;
        let kept = options.truncate_dim.or(pipeline.truncate_dim).unwrap_or(width);
        if !(1..=width).contains(&kept) {
            let message = format!("found {kept}, expected 1 to {width}");
            return Err(Error::new(ErrorKind::InvalidInput, message).at("truncate_dim"));
        }
        Ok((width, kept))
    }

    /// The embeddings `[N,D]` in the order of the texts, and the texts whose end was cut
    /// off, by number.
    fn embed_rows<'a, T: Into<Text<'a>>>(
        &self,
        texts: impl IntoIterator<Item = T>,
        options: &EmbedOptions,
    ) -> Result<(Matrix<f32>, Vec<usize>)> {
        let [output] = self.outputs_of(&EMBED)?;
        let chosen = options.pooling.clone().map(EmbeddingPipeline::pooling);
        let pipeline = self.chosen_pipeline(chosen.as_ref())?;
        let (width, kept) = self.dimensions(pipeline, options)?;
        let prompt = self.prompt(options)?;
        let texts: Vec<Text<'a>> = collect(texts.into_iter().map(Into::into))?;
        let prompted: Vec<String>;
        let texts = match prompt.as_str() {
            "" => texts,
            prompt => {
                prompted = try_collect(texts.iter().map(|text| joined(prompt, text.text)))?;
                let pairs = texts.iter().map(|text| text.text_pair);
                let prompted = prompted.iter().map(String::as_str).zip(pairs);
                collect(prompted.map(|(text, text_pair)| Text { text, text_pair }))?
            }
        };
        let encode = EncodeOptions {
            split_special_tokens: options.split_special_tokens,
            max_length: options.max_length,
            details: false,
            ..EncodeOptions::default()
        };
        let encodings = self.encode_for_task(&texts, options.long_texts, encode.clone())?;
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
        let mut values = Matrix::new(width);
        values.set_rows(encodings.len())?;
        for (indices, pooled) in pooled {
            let embeddings = pipeline.after_pooling(&Solo, pooled.into_matrix()?)?;
            for (from, to) in indices.into_iter().enumerate() {
                values.row_mut(to).copy_from_slice(embeddings.row(from));
            }
        }
        if encodings.len() > texts.len() {
            values = mean_of_windows(&values, &encodings, texts.len())?;
            if pipeline.normalizes() {
                normalize(&mut values);
            }
        }
        if kept < width {
            values = first_columns(&values, kept)?;
        }
        if options.normalize {
            normalize(&mut values);
        }
        let truncated = encodings.iter().filter(|encoding| encoding.truncated);
        Ok((values, collect(truncated.map(|encoding| encoding.sample))?))
    }

    /// How alike two sets of embeddings are, `[N,D]` and `[M,D]` to `[N,M]`, in
    /// the measure that the file's pipeline names; cosine without one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for tensors of another form, or of two widths.
    pub fn similarity(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let pipeline = self.pipeline().ok().flatten();
        pipeline.map(|pipeline| pipeline.similarity).unwrap_or_default().of(a, b)
    }

    fn prompt(&self, options: &EmbedOptions) -> Result<String> {
        if options.prompt.is_some() && options.prompt_name.is_some() {
            let message = "found prompt_name too, expected one of the two";
            return Err(Error::new(ErrorKind::InvalidInput, message).at("prompt"));
        }
        if let Some(prompt) = &options.prompt {
            return Ok(prompt.clone());
        }
        let none = crate::embedding::Prompts::default();
        let known = match self.pipeline() {
            Ok(Some(pipeline)) => &pipeline.prompts,
            _ => &none,
        };
        let Some(name) = options.prompt_name.as_ref().or(known.default_prompt_name.as_ref()) else {
            return Ok(String::new());
        };
        known.prompts.get(name).cloned().ok_or_else(|| {
            let names = match known.prompts.is_empty() {
                true => "it has none".to_owned(),
                false => known.prompts.keys().cloned().collect::<Vec<_>>().join(", "),
            };
            let message = format!("the file has no prompt {name:?}, expected one of: {names}");
            Error::new(ErrorKind::InvalidInput, message).at("prompt_name")
        })
    }

    /// How many tokens at the start of every sequence are the prompt's.
    fn prompt_length(&self, prompt: &str, encode: EncodeOptions) -> Result<usize> {
        if prompt.is_empty() {
            return Ok(0);
        }
        let encoding = self.encode_for_task(&[prompt.into()], LongTexts::Truncate, encode)?;
        let length = encoding[0].len();
        // What closes a sequence does not stand after the prompt.
        let last = encoding[0].input_ids.last().copied();
        Ok(if last == self.tokenizer()?.sep_token_id() { length - 1 } else { length })
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

fn joined(prompt: &str, text: &str) -> Result<String, OutOfMemory> {
    let bytes = prompt.len() + text.len();
    let mut joined = String::new();
    joined.try_reserve_exact(bytes).map_err(|_| OutOfMemory { bytes })?;
    joined.push_str(prompt);
    joined.push_str(text);
    Ok(joined)
}

fn no_pipeline() -> Error {
    let message = "the file has no sentence-transformers pipeline (modules.json); choose how to pool, with --pooling or `pooling`, such as mean";
    Error::new(ErrorKind::Unsupported, message)
}

/// The mean of each text's windows, weighted by their tokens.
fn mean_of_windows(
    values: &Matrix<f32>,
    encodings: &[Encoding],
    texts: usize,
) -> Result<Matrix<f32>> {
    let mut tokens = filled(texts, 0)?;
    for encoding in encodings {
        tokens[encoding.sample] += encoding.len();
    }
    let mut mean = Matrix::new(values.width());
    mean.set_rows(texts)?;
    (0..texts).for_each(|text| mean.row_mut(text).fill(0.));
    for (row, encoding) in encodings.iter().enumerate() {
        let weight = encoding.len() as f32 / tokens[encoding.sample] as f32;
        let sum = mean.row_mut(encoding.sample).iter_mut();
        sum.zip(values.row(row)).for_each(|(sum, value)| *sum += value * weight);
    }
    Ok(mean)
}

fn first_columns(values: &Matrix<f32>, width: usize) -> Result<Matrix<f32>> {
    let mut kept = Matrix::new(width);
    kept.set_rows(values.len())?;
    for row in 0..values.len() {
        kept.row_mut(row).copy_from_slice(&values.row(row)[..width]);
    }
    Ok(kept)
}

/// `[N,D]`
fn tensor(values: &Matrix<f32>) -> Result<Tensor> {
    let shape = [values.len() as i64, values.width() as i64];
    Ok(torchscript::filled_tensor(&shape, |to| copy_rows(values, to))?)
}

fn copy_rows(values: &Matrix<f32>, to: &mut [f32]) {
    let rows = to.chunks_exact_mut(values.width().max(1));
    rows.enumerate().for_each(|(row, to)| to.copy_from_slice(values.row(row)));
}
