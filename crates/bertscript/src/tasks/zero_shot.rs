//! Labels of texts that are given with them, by a model of natural language inference.
//!
//! Source: `ZeroShotClassificationPipeline`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/pipelines/zero_shot_classification.py>

use super::batches::Pass;
use super::classify::{Classification, LabelScore, LogitsOf};
use super::heads::ZERO_SHOT;
use super::math::softmax;
use super::options::{Cancel, LongTexts};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{HEADROOM, check, collect, try_collect, with_capacity};
use crate::module::Module;
use crate::text::{EncodeOptions, Text, Truncation};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Pairs of a text and a label that are encoded at once.
const PAIRS: usize = 4096;

/// How to classify by labels that are given.
#[derive(Debug, Clone)]
pub struct ZeroShotOptions {
    /// What the model is asked about a label, which takes the place of `{}`, once in it.
    pub hypothesis_template: String,
    /// Whether several labels may be true: each is scored by itself, entailment against
    /// contradiction. Otherwise the scores of all labels add up to 1. A single label is
    /// scored by itself.
    pub multi_label: bool,
    /// How many labels are returned, sorted by descending score; all if none.
    pub top_k: Option<usize>,
    /// What becomes of long texts; labels are never cut. The logits of windows are averaged,
    /// weighted by their tokens.
    pub long_texts: LongTexts,
    /// Whether special tokens in a text are read as plain text, as untrusted text
    /// should be; if none, as the tokenizer's configuration says.
    pub split_special_tokens: Option<bool>,
    /// The max length of a text with a label in tokens, special tokens included, at most the
    /// model's; the model's if none.
    pub max_length: Option<usize>,
    /// The budget of a batch, in tokens with padding; otherwise what suits the device,
    /// 4096 on the CPU and 32768 on a CUDA device.
    pub batch_tokens: Option<usize>,
    /// Stops the task.
    pub cancel: Cancel,
}

impl Default for ZeroShotOptions {
    fn default() -> Self {
        Self {
            hypothesis_template: "This example is {}.".to_owned(),
            multi_label: false,
            top_k: None,
            long_texts: LongTexts::default(),
            split_special_tokens: None,
            max_length: None,
            batch_tokens: None,
            cancel: Cancel::default(),
        }
    }
}

impl Module {
    /// Scores how well each of `candidate_labels` suits each text, by a model of natural
    /// language inference: one that has a label which begins with `entail`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the file is no `..ForSequenceClassification`, has no
    /// such label or several, or no tokenizer; [`ErrorKind::InvalidInput`] if there is no
    /// label, or a text has no room beside one.
    pub fn zero_shot<'a>(
        &self,
        texts: impl IntoIterator<Item = &'a str>,
        candidate_labels: &[&str],
        options: &ZeroShotOptions,
    ) -> Result<Vec<Classification>> {
        let [output] = self.outputs_of(&ZERO_SHOT)?;
        let inference = self.inference()?;
        let invalid = |place, message: &str| Error::new(ErrorKind::InvalidInput, message).at(place);
        if candidate_labels.is_empty() {
            return Err(invalid("candidate_labels", "found none, expected at least one"));
        }
        if options.top_k == Some(0) {
            return Err(invalid("top_k", "found 0, expected at least 1"));
        }
        let template = &options.hypothesis_template;
        let hypotheses =
            try_collect(candidate_labels.iter().map(|label| hypothesis(template, label)))?;
        let texts: Vec<&str> = collect(texts)?;
        let labels = candidate_labels.len();
        let encode = EncodeOptions {
            truncation: Truncation::OnlyFirst,
            split_special_tokens: options.split_special_tokens,
            max_length: options.max_length,
            details: false,
            ..EncodeOptions::default()
        };
        let pass = Pass { batch_tokens: options.batch_tokens, cancel: &options.cancel };
        // The logits of each of these texts with each label.
        let logits_of = |first: usize, texts: &[&str]| {
            let pairs = texts.iter().flat_map(|text| {
                hypotheses.iter().map(|hypothesis| Text { text, text_pair: Some(hypothesis) })
            });
            let encodings = self
                .encode_for_task(&collect(pairs)?, options.long_texts, encode.clone())
                .map_err(|error| of_text(error, first, labels))?;
            let (count, width) = (texts.len() * labels, inference.labels);
            self.logits_of_texts(&encodings, count, width, output, &pass)
        };
        let classify = |logits: &[LogitsOf]| -> Result<_> {
            check(HEADROOM)?;
            let scores = match options.multi_label || labels == 1 {
                true => try_collect(logits.iter().map(|of| inference.alone(&of.logits)))?,
                false => {
                    softmax(&collect(logits.iter().map(|of| of.logits[inference.entailment]))?)?
                }
            };
            let labels = candidate_labels.iter().map(|label| (*label).to_owned()).zip(scores);
            let labels = collect(labels.map(|(label, score)| LabelScore { label, score }))?;
            let truncated = logits.iter().any(|of| of.truncated);
            Ok(Classification::new(labels, options.top_k, truncated))
        };
        let mut found = with_capacity(texts.len())?;
        let texts_of_part = (PAIRS / labels).max(1);
        for (part, texts) in texts.chunks(texts_of_part).enumerate() {
            let logits = logits_of(part * texts_of_part, texts)?;
            found.append(&mut try_collect(logits.chunks(labels).map(classify))?);
        }
        Ok(found)
    }

    /// Which of the file's labels says what.
    fn inference(&self) -> Result<Inference> {
        #[derive(Default, Deserialize)]
        struct Labels {
            label2id: Option<BTreeMap<String, usize>>,
        }
        let names = self.metadata().map_or(&[][..], |metadata| &metadata.labels);
        let assets = self.archive().map(|archive| archive.assets());
        let config: Option<Labels> =
            assets.map(|assets| assets.json("config.json")).transpose()?.flatten();
        let label2id = config.and_then(|config| config.label2id).unwrap_or_else(|| {
            names.iter().enumerate().map(|(index, name)| (name.clone(), index)).collect()
        });
        let entails = |(name, _): &(&String, &usize)| name.to_lowercase().starts_with("entail");
        let found: Vec<_> = label2id.iter().filter(entails).map(|(_, index)| *index).collect();
        match found[..] {
            [entailment] if entailment < names.len() => {
                // As upstream has it: the first label, or else the last.
                let contradiction = if entailment == 0 { names.len() - 1 } else { 0 };
                Ok(Inference { labels: names.len(), entailment, contradiction })
            }
            _ => {
                let labels = label2id.iter().map(|(name, id)| format!("{name} ({id})"));
                let message = format!(
                    "zero_shot needs a model with one of {} labels that begins with entail, but the file's are {}",
                    names.len(),
                    labels.collect::<Vec<_>>().join(", ")
                );
                Err(Error::new(ErrorKind::Unsupported, message))
            }
        }
    }
}

/// The labels of natural language inference, by index.
struct Inference {
    /// How many there are.
    labels: usize,
    entailment: usize,
    contradiction: usize,
}

impl Inference {
    /// The score of a label by itself.
    fn alone(&self, logits: &[f32]) -> Result<f32> {
        Ok(softmax(&[logits[self.contradiction], logits[self.entailment]])?[1])
    }
}

/// The template with the label in it.
fn hypothesis(template: &str, label: &str) -> Result<String> {
    let parts = template
        .split_once("{}")
        .filter(|(before, after)| !before.contains(['{', '}']) && !after.contains(['{', '}']));
    let Some((before, after)) = parts else {
        let message =
            format!("found {template:?}, expected a text with {{}} once, where the label goes");
        return Err(Error::new(ErrorKind::InvalidInput, message).at("hypothesis_template"));
    };
    check(HEADROOM + template.len() + label.len())?;
    Ok([before, label, after].concat())
}

/// An error about a text with a label, as one about the text.
fn of_text(error: Error, first: usize, labels: usize) -> Error {
    match error.text() {
        Some(pair) => Error::new(error.kind(), error.message()).at_text(first + pair / labels),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_has_one_place_for_a_label() {
        assert_eq!(hypothesis("It is {}!", "a {cat}").unwrap(), "It is a {cat}!");
        for template in ["", "It is.", "{} or {}", "{0}", "{{}}", "{} }"] {
            let error = hypothesis(template, "a").unwrap_err().to_string();
            assert!(error.starts_with("hypothesis_template: found"), "{error}");
        }
    }
}
