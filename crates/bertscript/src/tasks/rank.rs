//! Texts in the order of how well they answer a query.
//!
//! Sources: `CrossEncoder.rank`, <https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/cross_encoder/model.py>,
//! `encode_query` and `encode_document`, <https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/sentence_transformer/model.py>

use super::batches::Pass;
use super::classify::FunctionToApply;
use super::embed::EmbedOptions;
use super::heads::RANK;
use super::options::{Cancel, LongTexts};
use super::prompt::joined;
use crate::embedding::Prompts;
use crate::error::{Error, ErrorKind, Result};
use crate::family::Task;
use crate::memory::{collect, filled};
use crate::module::Module;
use crate::text::{EncodeOptions, Text, Truncation};
use serde::Serialize;

/// How to rank.
#[derive(Debug, Clone, Default)]
pub struct RankOptions {
    /// How many texts are returned; all if none.
    pub top_k: Option<usize>,
    /// What makes scores of the logits of a cross-encoder; otherwise its activation. Bi-encoders
    /// have none.
    pub function_to_apply: Option<FunctionToApply>,
    /// What becomes of long texts. A cross-encoder scores each window with the whole query,
    /// and the score of a text is the max of its windows'; a bi-encoder embeds a text as
    /// [`Module::embed`] does.
    pub long_texts: LongTexts,
    /// Whether special tokens in a text are read as plain text, as untrusted text
    /// should be; if none, as the tokenizer's configuration says.
    pub split_special_tokens: Option<bool>,
    /// The max length of a text in tokens, special tokens included, of a cross-encoder with
    /// the query, at most the model's; the model's if none.
    pub max_length: Option<usize>,
    /// The budget of a batch, in tokens with padding; otherwise what suits the device,
    /// 4096 on the CPU and 32768 on a CUDA device.
    pub batch_tokens: Option<usize>,
    /// Stops the task.
    pub cancel: Cancel,
}

/// A text of a ranking.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RankedText {
    /// Its index among the texts that were ranked.
    pub index: usize,
    /// Its score: of a cross-encoder, or the similarity to the query.
    pub score: f32,
    /// Whether it, or the query with it, was truncated.
    pub truncated: bool,
}

impl Module {
    /// Ranks texts by how well they answer a query, sorted by descending score; equal ones
    /// keep their order. A cross-encoder of one label scores the query with each text. A
    /// bi-encoder, which embeds, compares embeddings by the file's similarity; the file's
    /// prompt `query` is put before the query, and before texts the first that it has of
    /// `document`, `passage` and `corpus`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the file has several labels, no tokenizer, no pipeline,
    /// or another head; [`ErrorKind::InvalidInput`] for windows, if the query leaves no room
    /// for a text.
    pub fn rank<'a>(
        &self,
        query: &str,
        texts: impl IntoIterator<Item = &'a str>,
        options: &RankOptions,
    ) -> Result<Vec<RankedText>> {
        if options.top_k == Some(0) {
            let message = "found 0, expected at least 1";
            return Err(Error::new(ErrorKind::InvalidInput, message).at("top_k"));
        }
        let [output] = self.outputs_of(&RANK)?;
        let texts = collect(texts)?;
        let task = self.metadata().map(|metadata| metadata.architecture()).transpose()?;
        let mut ranked = match task.map(|architecture| architecture.task()) {
            Some(Task::SequenceClassification) => {
                self.score_pairs(query, &texts, output, options)?
            }
            _ => self.compare_embeddings(query, &texts, options)?,
        };
        // Zeros are equal, whatever their sign; what is no number comes last.
        let key = |score: f32| if score.is_nan() { -f32::NAN.abs() } else { score + 0. };
        ranked.sort_by(|a, b| key(b.score).total_cmp(&key(a.score)));
        ranked.truncate(options.top_k.unwrap_or(usize::MAX));
        Ok(ranked)
    }

    /// The scores that a cross-encoder gives the query with each text.
    fn score_pairs(
        &self,
        query: &str,
        texts: &[&str],
        output: usize,
        options: &RankOptions,
    ) -> Result<Vec<RankedText>> {
        let labels = self.metadata().map_or(0, |metadata| metadata.labels.len());
        if labels != 1 {
            let message =
                format!("rank needs a cross-encoder of one label, but the file has {labels}");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let activation = self.activation(options.function_to_apply, labels)?;
        let query = joined(&self.cross_encoder_prompt()?, query)?;
        let pairs = texts.iter().map(|text| Text { text: &query, text_pair: Some(text) });
        let encode = EncodeOptions {
            // Every window has the whole query.
            truncation: match options.long_texts {
                LongTexts::Window => Truncation::OnlySecond,
                _ => Truncation::LongestFirst,
            },
            split_special_tokens: options.split_special_tokens,
            max_length: options.max_length,
            details: false,
            ..EncodeOptions::default()
        };
        let encodings = self.encode_for_task(&collect(pairs)?, options.long_texts, encode)?;
        let pass = Pass { batch_tokens: options.batch_tokens, cancel: &options.cancel };
        let batches = self.run_batches(&encodings, &pass, |_, batch| batch.outputs([output]))?;
        let mut scores = filled(texts.len(), None)?;
        for (indices, [logits]) in batches {
            for (row, index) in indices.into_iter().enumerate() {
                let [found] = activation.row(logits.row(row))?[..] else {
                    let message =
                        format!("found {} of a text, expected one", logits.row(row).len());
                    return Err(Error::new(ErrorKind::Archive, message).at("logits"));
                };
                let score = &mut scores[encodings[index].sample];
                *score = Some(score.map_or(found, |score| greater(score, found)));
            }
        }
        let mut truncated = filled(texts.len(), false)?;
        for encoding in &encodings {
            truncated[encoding.sample] |= encoding.truncated;
        }
        let scores = scores.into_iter().flatten().zip(truncated).enumerate();
        Ok(collect(scores.map(|(index, (score, truncated))| RankedText {
            index,
            score,
            truncated,
        }))?)
    }

    /// The similarities of the embeddings of the query and of each text.
    fn compare_embeddings(
        &self,
        query: &str,
        texts: &[&str],
        options: &RankOptions,
    ) -> Result<Vec<RankedText>> {
        if options.function_to_apply.is_some() {
            let message = "found one, expected none: the file is no cross-encoder";
            return Err(Error::new(ErrorKind::InvalidInput, message).at("function_to_apply"));
        }
        let prompts = self.pipeline()?.map(|pipeline| &pipeline.prompts);
        let embed = |texts: &[&str], names: &[&str]| {
            let options = EmbedOptions {
                prompt: Some(prompts.map_or(String::new(), |prompts| first_of(prompts, names))),
                long_texts: options.long_texts,
                split_special_tokens: options.split_special_tokens,
                max_length: options.max_length,
                batch_tokens: options.batch_tokens,
                cancel: options.cancel.clone(),
                ..EmbedOptions::default()
            };
            self.embed(texts.iter().copied(), &options)
        };
        let embeddings = embed(texts, &["document", "passage", "corpus"])?;
        let query = embed(&[query], &["query"]).map_err(of_query)?;
        let similarities = self.similarity(&query, &embeddings)?;
        let mut truncated = filled(texts.len(), !query.truncated().is_empty())?;
        embeddings.truncated().iter().for_each(|index| truncated[*index] = true);
        let scores = similarities.as_slice::<f32>()?.iter().copied().zip(truncated).enumerate();
        Ok(collect(scores.map(|(index, (score, truncated))| RankedText {
            index,
            score,
            truncated,
        }))?)
    }
}

/// The greater of two scores, or the one that is no number.
fn greater(a: f32, b: f32) -> f32 {
    if a.is_nan() || a > b { a } else { b }
}

/// The first prompt that there is of these names; nothing without one.
fn first_of(prompts: &Prompts, names: &[&str]) -> String {
    let found = names.iter().find_map(|name| prompts.prompts.get(*name));
    found.cloned().unwrap_or_default()
}

/// An error about the query, which is none of the texts.
fn of_query(error: Error) -> Error {
    match error.text() {
        Some(_) => Error::new(error.kind(), error.message()).at("query"),
        None => error,
    }
}
