//! Embeddings of texts.
//!
//! Source: `SentenceTransformer.encode`, <https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/sentence_transformer/model.py>

#![expect(clippy::disallowed_methods, reason = "works on results, records no trace")]

use super::batches::{BATCH_TOKENS, Cancel, LongTexts, Pass};
use crate::error::{Error, ErrorKind, Result};
use crate::models::Architecture;
use crate::module::Module;
use crate::text::{EncodeOptions, Encoding, PoolingMode, Recipe, Text, normalize};
use tch::{Kind, Tensor};

/// How to embed.
#[derive(Debug, Clone)]
pub struct EmbedOptions {
    /// How hidden states are pooled; otherwise by the file's recipe.
    pub pooling: Option<Vec<PoolingMode>>,
    /// Whether embeddings are brought to length 1 where the recipe does not.
    pub normalize: bool,
    /// What is put before every text.
    pub prompt: Option<String>,
    /// Which prompt of the file is put before every text; without it and
    /// `prompt`, the file's default.
    pub prompt_name: Option<String>,
    /// How many dimensions are kept; otherwise what the recipe says.
    pub truncate_dim: Option<usize>,
    /// What becomes of long texts. The embedding of windows is their mean,
    /// weighted by their tokens.
    pub long_texts: LongTexts,
    /// The budget of a batch, in tokens with padding.
    pub batch_tokens: usize,
    /// Stops the task.
    pub cancel: Cancel,
}

impl Default for EmbedOptions {
    fn default() -> Self {
        Self {
            pooling: None,
            normalize: false,
            prompt: None,
            prompt_name: None,
            truncate_dim: None,
            long_texts: LongTexts::default(),
            batch_tokens: BATCH_TOKENS,
            cancel: Cancel::default(),
        }
    }
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
    /// or no recipe and `pooling` is not given, or is another architecture than
    /// `BertModel`.
    pub fn embed<'a, T: Into<Text<'a>>>(
        &self,
        texts: impl IntoIterator<Item = T>,
        options: &EmbedOptions,
    ) -> Result<Embeddings> {
        self.expect_architecture("embed", &[Architecture::BertModel])?;
        let chosen = options.pooling.clone().map(Recipe::pooling);
        let recipe = match &chosen {
            Some(recipe) => recipe,
            None => self.recipe()?.ok_or_else(no_recipe)?,
        };
        let prompt = self.prompt(options)?;
        let texts: Vec<Text<'a>> = texts.into_iter().map(Into::into).collect();
        let prompted: Vec<String>;
        let texts = match prompt.as_str() {
            "" => texts,
            prompt => {
                prompted = texts.iter().map(|text| format!("{prompt}{}", text.text)).collect();
                let pairs = texts.iter().map(|text| text.text_pair);
                let prompted = prompted.iter().map(String::as_str).zip(pairs);
                prompted.map(|(text, text_pair)| Text { text, text_pair }).collect()
            }
        };
        let encode = EncodeOptions { details: false, ..EncodeOptions::default() };
        let encodings = self.encode_for_task(&texts, options.long_texts, encode)?;
        let prompt_length = self.prompt_length(&prompt)?;

        let hidden_size = self.archive().map_or(0, |archive| archive.config().hidden_size);
        let shape = [encodings.len() as i64, recipe.dimension(hidden_size)];
        let mut values = Tensor::f_zeros(shape, (Kind::Float, tch::Device::Cpu))?;
        let pass = Pass { batch_tokens: options.batch_tokens, cancel: &options.cancel };
        let batches = self.run_batches(&encodings, &pass, |rows, mask, outputs| {
            let hidden = outputs.get("last_hidden_state")?;
            let mask = mask.f_to_device(hidden.device())?;
            let without_prompt = mask.f_detach_copy()?;
            for (place, row) in rows.iter().enumerate() {
                // Of several windows of a text, the first begins with the prompt.
                let before = row.checked_sub(1).map(|before| encodings[before].sample);
                if before != Some(encodings[*row].sample) {
                    let row = without_prompt.f_select(0, place as i64)?;
                    let _ = row.f_slice(0, 0, prompt_length, 1)?.f_zero_()?;
                }
            }
            recipe.embed(hidden, &mask, &without_prompt)
        })?;
        for (rows, embedding) in batches {
            let rows: Vec<_> = rows.iter().map(|row| *row as i64).collect();
            let _ = values.f_index_copy_(0, &Tensor::f_from_slice(&rows)?, &embedding)?;
        }
        if encodings.len() > texts.len() {
            values = mean_of_windows(&values, &encodings, texts.len())?;
            if recipe.normalizes() {
                values = normalize(&values)?;
            }
        }
        if let Some(dimensions) = options.truncate_dim.or(recipe.truncate_dim) {
            let most = shape[1];
            if !(1..=most).contains(&(dimensions as i64)) {
                let message = format!("found {dimensions}, expected 1 to {most}");
                return Err(Error::new(ErrorKind::InvalidInput, message).at("truncate_dim"));
            }
            values = values.f_slice(1, 0, dimensions as i64, 1)?.f_contiguous()?;
        }
        if options.normalize {
            values = normalize(&values)?;
        }
        let truncated = encodings.iter().filter(|encoding| encoding.truncated);
        Ok(Embeddings { values, truncated: truncated.map(|encoding| encoding.sample).collect() })
    }

    /// How alike two sets of embeddings are, `[N,D]` and `[M,D]` to `[N,M]`, in
    /// the measure that the file's recipe names; cosine without one.
    pub fn similarity(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let recipe = self.recipe().ok().flatten();
        recipe.map(|recipe| recipe.similarity).unwrap_or_default().of(a, b)
    }

    fn prompt(&self, options: &EmbedOptions) -> Result<String> {
        if let Some(prompt) = &options.prompt {
            return Ok(prompt.clone());
        }
        let none = crate::text::Prompts::default();
        let known = match self.recipe() {
            Ok(Some(recipe)) => &recipe.prompts,
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
    fn prompt_length(&self, prompt: &str) -> Result<i64> {
        if prompt.is_empty() {
            return Ok(0);
        }
        let encode = EncodeOptions { details: false, ..EncodeOptions::default() };
        let encoding = self.encode_for_task(&[prompt.into()], LongTexts::Truncate, encode)?;
        let length = encoding[0].len() as i64;
        // What closes a sequence does not stand after the prompt.
        let last = encoding[0].input_ids.last().copied();
        Ok(if last == self.tokenizer()?.sep_token_id() { length - 1 } else { length })
    }
}

fn no_recipe() -> Error {
    let message = "the file has no sentence-transformers recipe (modules.json); choose how to pool, with --pooling or `pooling`, such as mean";
    Error::new(ErrorKind::Unsupported, message)
}

/// The mean of each text's windows, weighted by their tokens.
fn mean_of_windows(values: &Tensor, encodings: &[Encoding], texts: usize) -> Result<Tensor> {
    let samples: Vec<_> = encodings.iter().map(|encoding| encoding.sample as i64).collect();
    let weights: Vec<_> = encodings.iter().map(|encoding| encoding.len() as f32).collect();
    let samples = Tensor::f_from_slice(&samples)?;
    let weights = Tensor::f_from_slice(&weights)?.f_unsqueeze(1)?;
    let sum = |rows: &Tensor| -> Result<Tensor> {
        let empty =
            Tensor::f_zeros([texts as i64, rows.size()[1]], (Kind::Float, tch::Device::Cpu))?;
        Ok(empty.f_index_add(0, &samples, rows)?)
    };
    Ok(sum(&values.f_mul(&weights)?)?.f_div(&sum(&weights)?)?)
}
