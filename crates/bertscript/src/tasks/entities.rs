//! Entities in texts, or any other label of tokens.
//!
//! Source: `TokenClassificationPipeline`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/pipelines/token_classification.py>

use super::batches::Pass;
use super::heads::ENTITIES;
use super::math::{argmax, softmax};
use super::options::{Cancel, LongTexts};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{check_tokens, collect, filled, reserve, try_collect};
use crate::module::Module;
use crate::text::{EncodeOptions, Encoding, Text, Tokenizer};
use serde::Serialize;
use std::ops::Range;
use std::str::FromStr;

/// How the labels of tokens become entities. The words are transformers'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AggregationStrategy {
    /// Each token by itself.
    None,
    /// Neighbours of the same label together.
    #[default]
    Simple,
    /// First, each word gets the label of its first token.
    First,
    /// First, the scores of a word's tokens are averaged.
    Average,
    /// First, each word gets the label of its surest token.
    Max,
}

impl FromStr for AggregationStrategy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "none" => Self::None,
            "simple" => Self::Simple,
            "first" => Self::First,
            "average" => Self::Average,
            "max" => Self::Max,
            _ => {
                let message = format!(
                    "unknown strategy {text:?}, expected none, simple, first, average or max"
                );
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
        })
    }
}

/// How to find entities.
#[derive(Debug, Clone)]
pub struct EntitiesOptions {
    /// How tokens become entities.
    pub aggregation_strategy: AggregationStrategy,
    /// Labels that are left out.
    pub ignore_labels: Vec<String>,
    /// What becomes of long texts. Of entities in two windows the longer one,
    /// or else the one of the higher score, counts.
    pub long_texts: LongTexts,
    /// How many tokens two windows share.
    pub stride: usize,
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

impl Default for EntitiesOptions {
    fn default() -> Self {
        Self {
            aggregation_strategy: AggregationStrategy::default(),
            ignore_labels: vec!["O".to_owned()],
            long_texts: LongTexts::default(),
            stride: 0,
            split_special_tokens: None,
            max_length: None,
            batch_tokens: None,
            cancel: Cancel::default(),
        }
    }
}

/// An entity, or a token with its label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entity {
    /// The label; of aggregated tokens without `B-` and `I-`.
    pub entity: String,
    /// Its score.
    pub score: f32,
    /// The tokens, as text.
    pub word: String,
    /// Where it begins in the text, in bytes.
    pub start: usize,
    /// Where it ends in the text, in bytes.
    pub end: usize,
    /// Where it begins in the text, in characters.
    pub char_start: usize,
    /// Where it ends in the text, in characters.
    pub char_end: usize,
    /// The number of the token, where tokens are not aggregated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
}

/// The entities of a text.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Entities {
    /// In the order of the text.
    pub entities: Vec<Entity>,
    /// Whether the text was truncated.
    pub truncated: bool,
}

/// A token with what the model says of it.
struct Token<'a> {
    index: usize,
    word: String,
    scores: &'a [f32],
    place: Place,
    is_subword: bool,
}

/// Offsets in bytes and in characters.
#[derive(Clone, Copy)]
struct Place {
    bytes: (usize, usize),
    chars: (usize, usize),
}

impl Place {
    fn to(self, end: Self) -> Self {
        Self { bytes: (self.bytes.0, end.bytes.1), chars: (self.chars.0, end.chars.1) }
    }
}

/// A token or a word with its best label, not yet grouped.
struct Labelled {
    label: usize,
    score: f32,
    word: String,
    place: Place,
    index: Option<usize>,
}

impl Module {
    /// Finds entities in texts.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the file is no `..ForTokenClassification`
    /// or has no tokenizer.
    pub fn entities<'a, T: Into<Text<'a>>>(
        &self,
        texts: impl IntoIterator<Item = T>,
        options: &EntitiesOptions,
    ) -> Result<Vec<Entities>> {
        let [output] = self.outputs_of(&ENTITIES)?;
        if options.long_texts == LongTexts::Window
            && options.aggregation_strategy == AggregationStrategy::None
        {
            let message = "windows need tokens to be aggregated: choose another strategy than none";
            return Err(Error::new(ErrorKind::InvalidInput, message).at("aggregation_strategy"));
        }
        let texts: Vec<Text<'a>> = collect(texts.into_iter().map(Into::into))?;
        let encode = EncodeOptions {
            split_special_tokens: options.split_special_tokens,
            max_length: options.max_length,
            stride: options.stride,
            ..EncodeOptions::default()
        };
        let encodings = self.encode_for_task(&texts, options.long_texts, encode)?;
        let mut scores = filled(encodings.len(), Vec::new())?;
        let pass = Pass { batch_tokens: options.batch_tokens, cancel: &options.cancel };
        let batches = self.run_batches(&encodings, &pass, |_, batch| {
            let [logits] = batch.outputs([output])?;
            let scores =
                |tokens: Range<usize>| try_collect(tokens.map(|token| softmax(logits.row(token))));
            try_collect(batch.batch.ranges().map(scores))
        })?;
        for (indices, found) in batches {
            for (index, found) in indices.into_iter().zip(found) {
                scores[index] = found;
            }
        }
        let mut found = filled(texts.len(), Entities::default())?;
        let mut windows = filled(texts.len(), 0)?;
        for (encoding, scores) in encodings.iter().zip(&scores) {
            let text = texts[encoding.sample].text;
            check_tokens(encoding.len())?;
            let entities = self.entities_of(text, encoding, scores, options)?;
            let found = &mut found[encoding.sample];
            reserve(&mut found.entities, entities.len())?;
            found.entities.extend(entities);
            found.truncated |= encoding.truncated;
            windows[encoding.sample] += 1;
        }
        for (found, windows) in found.iter_mut().zip(windows) {
            if windows > 1 {
                found.entities = without_overlaps(std::mem::take(&mut found.entities));
            }
        }
        Ok(found)
    }

    fn entities_of(
        &self,
        text: &str,
        encoding: &Encoding,
        scores: &[Vec<f32>],
        options: &EntitiesOptions,
    ) -> Result<Vec<Entity>> {
        let tokenizer = self.tokenizer()?;
        let labels = self.metadata().map_or(&[][..], |metadata| &metadata.labels);
        let tokens = tokens(tokenizer, text, encoding, scores);
        let strategy = options.aggregation_strategy;
        let labelled: Vec<Labelled> = match strategy {
            AggregationStrategy::None | AggregationStrategy::Simple => tokens
                .into_iter()
                .map(|token| {
                    let label = argmax(token.scores);
                    let (score, index) = (token.scores[label], Some(token.index));
                    Labelled { label, score, word: token.word, place: token.place, index }
                })
                .collect(),
            _ => words(tokenizer, tokens, strategy)?,
        };
        let name = |label: usize| labels.get(label).map_or("", String::as_str);
        let entities: Vec<Entity> = if strategy == AggregationStrategy::None {
            labelled.into_iter().map(|token| token.entity(name)).collect()
        } else {
            group(tokenizer, labelled, name)?
        };
        let ignored = |entity: &Entity| options.ignore_labels.contains(&entity.entity);
        Ok(entities.into_iter().filter(|entity| !ignored(entity)).collect())
    }
}

fn tokens<'a>(
    tokenizer: &Tokenizer,
    text: &str,
    encoding: &Encoding,
    scores: &'a [Vec<f32>],
) -> Vec<Token<'a>> {
    let of_text = (0..encoding.len()).filter(|index| encoding.special_tokens_mask[*index] == 0);
    let token = |index: usize| {
        let bytes = encoding.offsets[index];
        let chars = encoding.char_offsets[index];
        let token = &encoding.tokens[index];
        let unknown = Some(encoding.input_ids[index]) == tokenizer.unk_token_id();
        Token {
            index,
            scores: &scores[index],
            place: Place { bytes, chars },
            is_subword: !unknown
                && match tokenizer.marks_subwords() {
                    // A continuation is written with ##, so it is longer than its text.
                    true => token.chars().count() != chars.1 - chars.0,
                    false => is_inside_word(text, bytes.0),
                },
            word: match unknown {
                true => text.get(bytes.0..bytes.1).unwrap_or(token).to_owned(),
                false => token.clone(),
            },
        }
    };
    of_text.map(token).collect()
}

/// Whether a token that starts here continues a word: neither the character before nor the
/// first of its own is a space. (What the pipeline of transformers takes for a word where a
/// tokenizer does not mark continuations.)
fn is_inside_word(text: &str, start: usize) -> bool {
    let start = (0..=start).rev().find(|byte| text.is_char_boundary(*byte)).unwrap_or(0);
    let (before, from) = text.split_at(start.min(text.len()));
    before.chars().next_back().is_some_and(|character| character != ' ') && !from.starts_with(' ')
}

/// The words of tokens, each with one label.
fn words(
    tokenizer: &Tokenizer,
    tokens: Vec<Token<'_>>,
    strategy: AggregationStrategy,
) -> Result<Vec<Labelled>> {
    let mut words: Vec<Vec<Token<'_>>> = Vec::new();
    for token in tokens {
        match words.last_mut() {
            Some(word) if token.is_subword => word.push(token),
            _ => words.push(vec![token]),
        }
    }
    let labelled = words.into_iter().map(|word| {
        let averaged: Vec<f32>;
        let scores = match strategy {
            AggregationStrategy::Average => {
                let mean = |label: usize| {
                    let sum: f64 = word.iter().map(|token| f64::from(token.scores[label])).sum();
                    (sum / word.len() as f64) as f32
                };
                averaged = (0..word[0].scores.len()).map(mean).collect();
                &averaged
            }
            AggregationStrategy::Max => {
                let best: Vec<_> =
                    word.iter().map(|token| token.scores[argmax(token.scores)]).collect();
                word[argmax(&best)].scores
            }
            _ => word[0].scores,
        };
        let label = argmax(scores);
        let (score, place) = (scores[label], word[0].place.to(word[word.len() - 1].place));
        let word = tokenizer.join(word.into_iter().map(|token| token.word).collect())?;
        Ok(Labelled { label, score, word, place, index: None })
    });
    labelled.collect()
}

impl Labelled {
    fn entity<'a>(self, name: impl Fn(usize) -> &'a str) -> Entity {
        Entity {
            entity: name(self.label).to_owned(),
            score: self.score,
            word: self.word,
            start: self.place.bytes.0,
            end: self.place.bytes.1,
            char_start: self.place.chars.0,
            char_end: self.place.chars.1,
            index: self.index,
        }
    }
}

/// Neighbours of one label become one entity; `B-` begins another.
fn group<'a>(
    tokenizer: &Tokenizer,
    labelled: Vec<Labelled>,
    name: impl Fn(usize) -> &'a str,
) -> Result<Vec<Entity>> {
    let begins = |label: usize| name(label).starts_with("B-");
    let tag = |label: usize| {
        let name = name(label);
        name.strip_prefix("B-").or_else(|| name.strip_prefix("I-")).unwrap_or(name)
    };
    let mut groups: Vec<Vec<Labelled>> = Vec::new();
    for token in labelled {
        match groups.last_mut() {
            Some(group)
                if !begins(token.label)
                    && group.last().is_some_and(|last| tag(last.label) == tag(token.label)) =>
            {
                group.push(token);
            }
            _ => groups.push(vec![token]),
        }
    }
    let entities = groups.into_iter().map(|group| {
        let label = name(group[0].label);
        let place = group[0].place.to(group[group.len() - 1].place);
        let sum: f64 = group.iter().map(|token| f64::from(token.score)).sum();
        let score = (sum / group.len() as f64) as f32;
        let word = tokenizer.join(group.into_iter().map(|token| token.word).collect())?;
        let merged = Labelled { label: 0, score, word, place, index: None };
        // Whatever stands before the first hyphen is left out, not B and I alone.
        Ok(merged.entity(|_| label.split_once('-').map_or(label, |(_, rest)| rest)))
    });
    entities.collect()
}

/// Of entities that overlap, the longest, and of equally long ones the surest.
fn without_overlaps(mut entities: Vec<Entity>) -> Vec<Entity> {
    entities.sort_by_key(|entity| entity.char_start);
    let mut kept: Vec<Entity> = Vec::new();
    for entity in entities {
        match kept.last_mut() {
            Some(last) if (last.char_start..last.char_end).contains(&entity.char_start) => {
                let length = |entity: &Entity| entity.char_end - entity.char_start;
                let longer = length(&entity) > length(last);
                if longer || length(&entity) == length(last) && entity.score > last.score {
                    *last = entity;
                }
            }
            _ => kept.push(entity),
        }
    }
    kept
}
