//! Labels of texts.
//!
//! Sources: `TextClassificationPipeline`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/pipelines/text_classification.py>,
//! and `CrossEncoder.predict`, <https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/cross_encoder/model.py>

use super::batches::{Cancel, LongTexts, rows, softmax};
use super::heads::{CLASSIFY, NEXT_SENTENCE};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{HEADROOM, check, collect, copied, filled, try_collect};
use crate::module::Module;
use crate::text::{EncodeOptions, Text};
use serde::Serialize;
use serde_json::Value;
use std::str::FromStr;

/// What makes scores of logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionToApply {
    /// Each label by itself.
    Sigmoid,
    /// All labels together.
    Softmax,
    /// Nothing: the logits.
    None,
}

impl FromStr for FunctionToApply {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "sigmoid" => Self::Sigmoid,
            "softmax" => Self::Softmax,
            "none" => Self::None,
            _ => {
                let message =
                    format!("unknown function {text:?}, expected sigmoid, softmax or none");
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
        })
    }
}

/// How to classify.
#[derive(Debug, Clone, Default)]
pub struct ClassifyOptions {
    /// What makes scores of logits; otherwise what `config.json` says of a
    /// cross-encoder, or else follows from the problem type, as in transformers.
    pub function_to_apply: Option<FunctionToApply>,
    /// How many labels are returned, the best first; all if none.
    pub top_k: Option<usize>,
    /// What becomes of long texts. The logits of windows are averaged, weighted
    /// by their tokens.
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

/// A label and its score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelScore {
    /// The label, of `id2label`.
    pub label: String,
    /// Its score.
    pub score: f32,
}

/// The labels of a text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Classification {
    /// The labels, the best first.
    pub labels: Vec<LabelScore>,
    /// Whether the end of the text was cut off.
    pub truncated: bool,
}

impl Module {
    /// Scores the labels of texts, or of pairs of texts.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the file is no
    /// `BertForSequenceClassification` or has no tokenizer.
    pub fn classify<'a, T: Into<Text<'a>>>(
        &self,
        texts: impl IntoIterator<Item = T>,
        options: &ClassifyOptions,
    ) -> Result<Vec<Classification>> {
        let [output] = self.outputs_of(&CLASSIFY)?;
        let labels = self.metadata().map_or(&[][..], |metadata| &metadata.labels);
        let function = match options.function_to_apply {
            Some(function) => function,
            None => self.default_function(labels.len())?,
        };
        self.score(texts, labels, function, output, options)
    }

    /// Whether the second text of each pair follows the first: the labels are
    /// `is_next` and `not_next`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the file is no `BertForNextSentencePrediction`
    /// or `BertForPreTraining`, or has no tokenizer; [`ErrorKind::InvalidInput`]
    /// for a text without a second one.
    pub fn next_sentence<'a, T: Into<Text<'a>>>(
        &self,
        pairs: impl IntoIterator<Item = T>,
        options: &ClassifyOptions,
    ) -> Result<Vec<Classification>> {
        let [output] = self.outputs_of(&NEXT_SENTENCE)?;
        let pairs: Vec<Text<'a>> = collect(pairs.into_iter().map(Into::into))?;
        if let Some(alone) = pairs.iter().position(|pair| pair.text_pair.is_none()) {
            let message = "the second text of the pair is missing";
            return Err(Error::new(ErrorKind::InvalidInput, message).at_text(alone));
        }
        let labels = ["is_next".to_owned(), "not_next".to_owned()];
        let function = options.function_to_apply.unwrap_or(FunctionToApply::Softmax);
        self.score(pairs, &labels, function, output, options)
    }

    fn score<'a, T: Into<Text<'a>>>(
        &self,
        texts: impl IntoIterator<Item = T>,
        labels: &[String],
        function: FunctionToApply,
        output: &str,
        options: &ClassifyOptions,
    ) -> Result<Vec<Classification>> {
        if options.top_k == Some(0) {
            let message = "found 0, expected at least 1";
            return Err(Error::new(ErrorKind::InvalidInput, message).at("top_k"));
        }
        let texts: Vec<Text<'a>> = collect(texts.into_iter().map(Into::into))?;
        let encode = EncodeOptions {
            split_special_tokens: options.split_special_tokens,
            max_length: options.max_length,
            details: false,
            ..EncodeOptions::default()
        };
        let encodings = self.encode_for_task(&texts, options.long_texts, encode)?;
        // Of each text: the sum over its windows, and their tokens.
        let none = || -> Result<_> { Ok((filled(labels.len(), 0_f64)?, 0_f64)) };
        let mut sums = try_collect(texts.iter().map(|_| none()))?;
        let pass = self.pass(options.batch_tokens, &options.cancel);
        let batches =
            self.run_batches(&encodings, &pass, |_, outputs| rows(outputs.get(output)?))?;
        for (numbers, logits) in batches {
            for (number, logits) in numbers.iter().zip(logits) {
                let weight = encodings[*number].len() as f64;
                let (sum, weights) = &mut sums[encodings[*number].sample];
                for (sum, logit) in sum.iter_mut().zip(&logits) {
                    *sum += f64::from(*logit) * weight;
                }
                *weights += weight;
            }
        }
        let mut truncated = filled(texts.len(), false)?;
        for encoding in &encodings {
            truncated[encoding.sample] |= encoding.truncated;
        }
        let classify = |((sum, weights), truncated): ((Vec<f64>, f64), bool)| -> Result<_> {
            check(HEADROOM)?;
            let logits = collect(sum.iter().map(|sum| (sum / weights) as f32))?;
            let scores = labels.iter().cloned().zip(apply(function, &logits)?);
            let mut labels = collect(scores.map(|(label, score)| LabelScore { label, score }))?;
            labels.sort_by(|a, b| b.score.total_cmp(&a.score));
            labels.truncate(options.top_k.unwrap_or(usize::MAX));
            Ok(Classification { labels, truncated })
        };
        try_collect(sums.into_iter().zip(truncated).map(classify))
    }

    fn default_function(&self, labels: usize) -> Result<FunctionToApply> {
        let config = |name: &str| -> Result<Value> {
            let archive = self.archive().map(|archive| archive.assets().json(name));
            Ok(archive.transpose()?.flatten().unwrap_or_default())
        };
        let (model, modules) =
            (config("config.json")?, config("config_sentence_transformers.json")?);
        // Where cross-encoders say it: since 2026, since 2025, and before.
        let path = modules["activation_fn"]
            .as_str()
            .or_else(|| model["sentence_transformers"]["activation_fn"].as_str())
            .or_else(|| model["sbert_ce_default_activation_function"].as_str());
        if let Some(path) = path {
            return match path.rsplit('.').next() {
                Some("Identity") => Ok(FunctionToApply::None),
                Some("Sigmoid") => Ok(FunctionToApply::Sigmoid),
                Some("Softmax") => Ok(FunctionToApply::Softmax),
                _ => {
                    let message = format!(
                        "the activation {path:?} of the cross-encoder is not supported; choose sigmoid, softmax or none"
                    );
                    Err(Error::new(ErrorKind::Unsupported, message).at("config.json"))
                }
            };
        }
        let problem = self.metadata().and_then(|metadata| metadata.problem_type.as_deref());
        Ok(match (problem, labels) {
            (Some("regression"), _) => FunctionToApply::None,
            (Some("multi_label_classification"), _) | (_, 1) => FunctionToApply::Sigmoid,
            _ => FunctionToApply::Softmax,
        })
    }
}

fn apply(function: FunctionToApply, logits: &[f32]) -> Result<Vec<f32>> {
    Ok(match function {
        FunctionToApply::None => copied(logits)?,
        FunctionToApply::Softmax => softmax(logits)?,
        FunctionToApply::Sigmoid => {
            collect(logits.iter().map(|logit| (1. / (1. + f64::from(-logit).exp())) as f32))?
        }
    })
}
