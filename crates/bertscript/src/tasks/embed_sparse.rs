//! Sparse embeddings of texts, with a dimension for each token of the vocabulary.
//!
//! Source: `SparseEncoder.encode`, <https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/sparse_encoder/model.py>

use super::batches::Pass;
use super::heads::EMBED_SPARSE;
use super::options::{Cancel, LongTexts};
use crate::embedding::{EmbeddingPipeline, SparseRows, SpladePooling};
use crate::error::{Error, ErrorKind, Result};
use crate::family::Dim;
use crate::memory::{collect, filled};
use crate::module::Module;
use crate::text::{EncodeOptions, Encoding, Text};

/// The budget of a batch in tokens on every device: each has a logit for every token of the
/// vocabulary, half a GiB in all where the engine is not the native one, which pools them as
/// they come.
const BATCH_TOKENS: usize = 4096;

/// How to embed sparsely.
#[derive(Debug, Clone, Default)]
pub struct EmbedSparseOptions {
    /// How many dimensions of an embedding are kept, those of the largest values; of equal
    /// values those of the lower indices. Otherwise as the file says, or else all that are
    /// not zero.
    pub max_active_dims: Option<usize>,
    /// What is put before every text, if not a prompt of the file.
    pub prompt: Option<String>,
    /// Which prompt of the file is put before every text; without it and
    /// `prompt`, the file's default.
    pub prompt_name: Option<String>,
    /// What becomes of long texts. Windows are brought together as tokens are: by the
    /// maximum or the sum of each dimension, as the file pools.
    pub long_texts: LongTexts,
    /// Whether special tokens in a text are read as plain text, as untrusted text
    /// should be; if none, as the tokenizer's configuration says.
    pub split_special_tokens: Option<bool>,
    /// The max length of a text in tokens, special tokens included, at most the
    /// model's; the model's if none.
    pub max_length: Option<usize>,
    /// The budget of a batch, in tokens with padding; 4096 if none.
    pub batch_tokens: Option<usize>,
    /// Stops the task.
    pub cancel: Cancel,
}

/// Sparse embeddings of texts `[N,V]`, a row for each in the order of the texts, in CSR form:
/// of each row the values that are not zero, and their indices, ascending. The index of a
/// dimension is the id of its token.
#[derive(Debug, Clone, PartialEq)]
pub struct SparseEmbeddings {
    rows: SparseRows,
    truncated: Vec<usize>,
}

impl SparseEmbeddings {
    /// The number of texts, `N`.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there was no text.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of dimensions, `V`: the size of the vocabulary.
    pub fn width(&self) -> usize {
        self.rows.width()
    }

    /// The embedding of a text: indices and values.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn row(&self, index: usize) -> (&[u32], &[f32]) {
        self.rows.row(index)
    }

    /// The embeddings, indices and values of each.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = (&[u32], &[f32])> {
        (0..self.len()).map(|index| self.row(index))
    }

    /// Where the indices and values of each row begin, and their number, `[N+1]`.
    pub fn offsets(&self) -> &[usize] {
        self.rows.offsets()
    }

    /// The indices of all rows, one row after the other.
    pub fn indices(&self) -> &[u32] {
        self.rows.indices()
    }

    /// The values of all rows, one row after the other.
    pub fn values(&self) -> &[f32] {
        self.rows.values()
    }

    /// The texts that were truncated, by number.
    pub fn truncated(&self) -> &[usize] {
        &self.truncated
    }
}

/// What is computed for every text.
struct Recipe {
    output: usize,
    pooling: SpladePooling,
    width: usize,
    max_active_dims: Option<usize>,
    prompt: String,
}

impl Module {
    /// Embeds texts sparsely, as the file's `SparseEncoder` of sentence-transformers does:
    /// one value for each token of the vocabulary, most of them zero. The embedding of a text
    /// is the same to the bit in any batch by the native engine.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the file has no tokenizer, no `SpladePooling` in its
    /// pipeline, or is no `..ForMaskedLM`; [`ErrorKind::InvalidInput`] if `max_active_dims`
    /// is 0.
    pub fn embed_sparse<'a, T: Into<Text<'a>>>(
        &self,
        texts: impl IntoIterator<Item = T>,
        options: &EmbedSparseOptions,
    ) -> Result<SparseEmbeddings> {
        let recipe = self.sparse_recipe(options)?;
        let texts: Vec<Text<'a>> = collect(texts.into_iter().map(Into::into))?;
        let encode = EncodeOptions {
            split_special_tokens: options.split_special_tokens,
            max_length: options.max_length,
            details: false,
            ..EncodeOptions::default()
        };
        let encodings = self.encode_prompted(&recipe.prompt, &texts, options.long_texts, encode)?;
        let batch_tokens = Some(options.batch_tokens.unwrap_or(BATCH_TOKENS));
        let pass = Pass { batch_tokens, cancel: &options.cancel };
        let batches = self.run_batches(&encodings, &pass, |indices, batch| {
            let rows = batch.splade(recipe.output, recipe.pooling)?;
            let (found, expected) = ([rows.len(), rows.width()], [indices.len(), recipe.width]);
            match found == expected {
                true => Ok(rows),
                false => {
                    let message = format!("found rows of shape {found:?}, expected {expected:?}");
                    Err(Error::new(ErrorKind::Archive, message).at("logits"))
                }
            }
        })?;
        let mut places = filled(encodings.len(), (0, 0))?;
        for (batch, (indices, _)) in batches.iter().enumerate() {
            indices.iter().enumerate().for_each(|(row, index)| places[*index] = (batch, row));
        }
        let mut places = places.into_iter();
        let (mut rows, mut pooled) = (SparseRows::new(recipe.width)?, filled(recipe.width, 0.)?);
        let of_one_text = |a: &Encoding, b: &Encoding| a.sample == b.sample;
        for windows in encodings.chunk_by(of_one_text) {
            pooled.fill(0.);
            for (batch, row) in places.by_ref().take(windows.len()) {
                recipe.pooling.add_window(&mut pooled, batches[batch].1.row(row));
            }
            rows.push(&pooled, recipe.max_active_dims)?;
        }
        let truncated = encodings.iter().filter(|encoding| encoding.truncated);
        let truncated = collect(truncated.map(|encoding| encoding.sample))?;
        Ok(SparseEmbeddings { rows, truncated })
    }

    /// The dimension of the embeddings that [`Self::embed_sparse`] makes: the size of the
    /// vocabulary.
    ///
    /// # Errors
    /// Those of [`Self::embed_sparse`], but for the ones of texts.
    pub fn sparse_embedding_dim(&self, options: &EmbedSparseOptions) -> Result<usize> {
        self.tokenizer()?;
        Ok(self.sparse_recipe(options)?.width)
    }

    fn sparse_recipe(&self, options: &EmbedSparseOptions) -> Result<Recipe> {
        let pipeline = self.pipeline()?;
        let pooling = pipeline.and_then(EmbeddingPipeline::splade);
        let pooling = pooling.ok_or_else(|| {
            let found = match pipeline {
                Some(dense) => format!("makes dense embeddings ({dense}); embed makes them"),
                None => "has no sentence-transformers pipeline (modules.json)".to_owned(),
            };
            let message = format!("embed_sparse needs SpladePooling, but the file {found}");
            Error::new(ErrorKind::Unsupported, message)
        })?;
        let [output] = self.outputs_of(&EMBED_SPARSE)?;
        let info = &self.exported()?.outputs[output];
        let vocab_size = self.archive().map(|archive| archive.config().vocab_size());
        let width = match info.shape.last().map(|size| size.parse()).transpose()? {
            Some(Dim::Fixed(size)) if Some(size) == vocab_size => size as usize,
            _ => {
                let (name, found) = (&info.name, &info.shape);
                let expected = vocab_size.unwrap_or_default();
                let message =
                    format!("{name}: found the shape {found:?}, expected [B, S, {expected}]");
                return Err(Error::new(ErrorKind::Archive, message));
            }
        };
        let of_file = pipeline.and_then(|pipeline| pipeline.max_active_dims);
        let max_active_dims = options.max_active_dims.or(of_file);
        if max_active_dims == Some(0) {
            let message = "found 0, expected at least 1";
            return Err(Error::new(ErrorKind::InvalidInput, message).at("max_active_dims"));
        }
        let prompt = self.prompt(options.prompt.as_deref(), options.prompt_name.as_deref())?;
        Ok(Recipe { output, pooling, width, max_active_dims, prompt })
    }
}
