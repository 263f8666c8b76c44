//! Labels of texts.
//!
//! Sources: `TextClassificationPipeline`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/pipelines/text_classification.py>,
//! and `CrossEncoder.predict`, <https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/cross_encoder/model.py>

use super::batches::Pass;
use super::cross_encoder;
use super::heads::{CLASSIFY, NEXT_SENTENCE};
use super::options::{Cancel, LongTexts};
use crate::activation::Activation;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{HEADROOM, check, collect, filled, try_collect};
use crate::module::Module;
use crate::text::{EncodeOptions, Encoding, Text};
use serde::Serialize;
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

impl FunctionToApply {
    fn activation(self) -> Activation {
        match self {
            Self::Sigmoid => Activation::Sigmoid,
            Self::Softmax => Activation::Softmax,
            Self::None => Activation::Linear,
        }
    }
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
    /// What makes scores of logits; otherwise the activation of a cross-encoder, as in
    /// `CrossEncoder`, or else what follows from the problem type, as in transformers.
    pub function_to_apply: Option<FunctionToApply>,
    /// How many labels are returned, sorted by descending score; all if none.
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
    /// The labels, sorted by descending score.
    pub labels: Vec<LabelScore>,
    /// Whether the text was truncated.
    pub truncated: bool,
}

impl Classification {
    pub(super) fn new(mut labels: Vec<LabelScore>, top_k: Option<usize>, truncated: bool) -> Self {
        labels.sort_by(|a, b| b.score.total_cmp(&a.score));
        labels.truncate(top_k.unwrap_or(usize::MAX));
        Self { labels, truncated }
    }
}

/// The logits of a text; of several windows their mean, weighted by their tokens.
pub(super) struct LogitsOf {
    pub(super) logits: Vec<f32>,
    /// Whether the text was truncated.
    pub(super) truncated: bool,
}

impl Module {
    /// Scores the labels of texts, or of pairs of texts.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the file is no
    /// `..ForSequenceClassification` or has no tokenizer.
    pub fn classify<'a, T: Into<Text<'a>>>(
        &self,
        texts: impl IntoIterator<Item = T>,
        options: &ClassifyOptions,
    ) -> Result<Vec<Classification>> {
        let [output] = self.outputs_of(&CLASSIFY)?;
        let labels = self.metadata().map_or(&[][..], |metadata| &metadata.labels);
        let activation = self.activation(options.function_to_apply, labels.len())?;
        self.score(texts, &self.cross_encoder_prompt()?, labels, activation, output, options)
    }

    /// What the file puts before the first text of a pair, if it is a cross-encoder's.
    pub(super) fn cross_encoder_prompt(&self) -> Result<String> {
        self.archive().map_or(Ok(String::new()), |archive| cross_encoder::prompt(archive.assets()))
    }

    /// Whether the second text of each pair follows the first: the labels are
    /// `is_next` and `not_next`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the file is no `..ForNextSentencePrediction`
    /// or `..ForPreTraining`, or has no tokenizer; [`ErrorKind::InvalidInput`]
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
        self.score(pairs, "", &labels, function.activation(), output, options)
    }

    fn score<'a, T: Into<Text<'a>>>(
        &self,
        texts: impl IntoIterator<Item = T>,
        prompt: &str,
        labels: &[String],
        activation: Activation,
        output: usize,
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
        let encodings = self.encode_prompted(prompt, &texts, options.long_texts, encode)?;
        let pass = Pass { batch_tokens: options.batch_tokens, cancel: &options.cancel };
        let found = self.logits_of_texts(&encodings, texts.len(), labels.len(), output, &pass)?;
        let classify = |LogitsOf { logits, truncated }| -> Result<_> {
            check(HEADROOM)?;
            let scores = labels.iter().cloned().zip(activation.row(&logits)?);
            let labels = collect(scores.map(|(label, score)| LabelScore { label, score }))?;
            Ok(Classification::new(labels, options.top_k, truncated))
        };
        try_collect(found.into_iter().map(classify))
    }

    /// The `width` logits of each of `texts` texts.
    pub(super) fn logits_of_texts(
        &self,
        encodings: &[Encoding],
        texts: usize,
        width: usize,
        output: usize,
        pass: &Pass<'_>,
    ) -> Result<Vec<LogitsOf>> {
        // Of each text: the sum over its windows, and their tokens.
        let none = || -> Result<_> { Ok((filled(width, 0_f64)?, 0_f64)) };
        let mut sums = try_collect((0..texts).map(|_| none()))?;
        let batches = self.run_batches(encodings, pass, |_, batch| batch.outputs([output]))?;
        for (indices, [logits]) in batches {
            for (row, index) in indices.iter().enumerate() {
                let weight = encodings[*index].len() as f64;
                let (sum, weights) = &mut sums[encodings[*index].sample];
                for (sum, logit) in sum.iter_mut().zip(logits.row(row)) {
                    *sum += f64::from(*logit) * weight;
                }
                *weights += weight;
            }
        }
        let mut truncated = filled(texts, false)?;
        for encoding in encodings {
            truncated[encoding.sample] |= encoding.truncated;
        }
        let mean = |((sum, weights), truncated): ((Vec<f64>, f64), bool)| -> Result<_> {
            let logits = collect(sum.iter().map(|sum| (sum / weights) as f32))?;
            Ok(LogitsOf { logits, truncated })
        };
        try_collect(sums.into_iter().zip(truncated).map(mean))
    }

    /// What makes scores of logits: what was chosen, or what the file says.
    pub(super) fn activation(
        &self,
        chosen: Option<FunctionToApply>,
        labels: usize,
    ) -> Result<Activation> {
        if let Some(function) = chosen {
            return Ok(function.activation());
        }
        if let Some(archive) = self.archive()
            && let Some(activation) = cross_encoder::activation(archive.assets(), labels)?
        {
            return Ok(activation);
        }
        let problem = self.metadata().and_then(|metadata| metadata.problem_type.as_deref());
        Ok(match (problem, labels) {
            (Some("regression"), _) => Activation::Linear,
            (Some("multi_label_classification"), _) | (_, 1) => Activation::Sigmoid,
            _ => Activation::Softmax,
        })
    }
}
