//! Answers to questions, as parts of a context.
//!
//! Source: `QuestionAnsweringPipeline`, <https://github.com/huggingface/transformers/blob/v4.57.3/src/transformers/pipelines/question_answering.py>
//! (transformers 5 has it no more).

use super::batches::Pass;
use super::heads::ANSWER;
use super::math::softmax;
use super::options::{Cancel, LongTexts};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{HEADROOM, check, collect, filled, reserve, try_collect};
use crate::module::Module;
use crate::text::{EncodeOptions, Encoding, Text, Truncation};
use bertscript_kernels::Matrix;
use serde::Serialize;
use std::ops::Range;

/// How to answer. The names and the defaults are transformers'.
#[derive(Debug, Clone)]
pub struct AnswerOptions {
    /// How many answers are returned, sorted by descending score.
    pub top_k: usize,
    /// The maximum length of an answer, in tokens.
    pub max_answer_len: usize,
    /// The maximum length of a window, question included, in tokens; otherwise
    /// 384, or the model's limit if that is less.
    pub max_seq_len: Option<usize>,
    /// How many tokens of the context two windows share; otherwise 128, or half
    /// of `max_seq_len` if that is less.
    pub doc_stride: Option<usize>,
    /// Whether no answer is one, with its own score and no text.
    pub handle_impossible_answer: bool,
    /// Whether an answer begins and ends with a word.
    pub align_to_words: bool,
    /// What becomes of long contexts; here, windows unless told otherwise.
    pub long_texts: LongTexts,
    /// Whether special tokens in a text are read as plain text, as untrusted text
    /// should be; if none, as the tokenizer's configuration says.
    pub split_special_tokens: Option<bool>,
    /// The max length of a window in tokens, whatever `max_seq_len` is, at most the
    /// model's; the model's if none.
    pub max_length: Option<usize>,
    /// The budget of a batch, in tokens with padding; otherwise what suits the device,
    /// 4096 on the CPU and 32768 on a CUDA device.
    pub batch_tokens: Option<usize>,
    /// Stops the task.
    pub cancel: Cancel,
}

impl Default for AnswerOptions {
    fn default() -> Self {
        Self {
            top_k: 1,
            max_answer_len: 15,
            max_seq_len: None,
            doc_stride: None,
            handle_impossible_answer: false,
            align_to_words: true,
            long_texts: LongTexts::Window,
            split_special_tokens: None,
            max_length: None,
            batch_tokens: None,
            cancel: Cancel::default(),
        }
    }
}

/// A part of a context that answers a question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// Its text; empty for no answer.
    pub answer: String,
    /// Its score.
    pub score: f32,
    /// Where it begins in the context, in bytes.
    pub start: usize,
    /// Where it ends in the context, in bytes.
    pub end: usize,
    /// Where it begins in the context, in characters.
    pub char_start: usize,
    /// Where it ends in the context, in characters.
    pub char_end: usize,
}

/// The answers to a question.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Answers {
    /// Sorted by descending score.
    pub answers: Vec<Answer>,
    /// Whether the context was truncated.
    pub truncated: bool,
}

/// A window's tokens from `start` to `end`, both included.
struct Span {
    start: usize,
    end: usize,
    score: f32,
}

impl Module {
    /// Answers questions, each from its own context: pairs of `(question,
    /// context)`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the file is no `..ForQuestionAnswering`
    /// or has no tokenizer; [`ErrorKind::InvalidInput`] for a text without a
    /// context, or a question that leaves no room for one.
    pub fn answer<'a, T: Into<Text<'a>>>(
        &self,
        questions: impl IntoIterator<Item = T>,
        options: &AnswerOptions,
    ) -> Result<Vec<Answers>> {
        let [start, end] = self.outputs_of(&ANSWER)?;
        let invalid = |message: &str| Error::new(ErrorKind::InvalidInput, message);
        if options.top_k == 0 {
            return Err(invalid("found 0, expected at least 1").at("top_k"));
        }
        if options.max_answer_len == 0 {
            return Err(invalid("found 0, expected at least 1").at("max_answer_len"));
        }
        let texts: Vec<Text<'a>> = collect(questions.into_iter().map(Into::into))?;
        if let Some(alone) = texts.iter().position(|text| text.text_pair.is_none()) {
            return Err(invalid("the context is missing").at_text(alone));
        }
        let limit = self.text_limit(options.max_length)?;
        let max_length = options.max_seq_len.unwrap_or(384).min(limit);
        let encode = EncodeOptions {
            truncation: Truncation::OnlySecond,
            split_special_tokens: options.split_special_tokens,
            max_length: Some(max_length),
            stride: options.doc_stride.unwrap_or((max_length / 2).min(128)),
            ..EncodeOptions::default()
        };
        let encodings = self.encode_for_task(&texts, options.long_texts, encode)?;
        let mut found = filled(texts.len(), Answers::default())?;
        let mut none = filled(texts.len(), f32::INFINITY)?;
        let mut windows = filled(encodings.len(), (Vec::new(), Vec::new()))?;
        let pass = Pass { batch_tokens: options.batch_tokens, cancel: &options.cancel };
        let batches = self.run_batches(&encodings, &pass, |_, batch| {
            let [starts, ends] = batch.outputs([start, end])?;
            let of_token = |logits: &Matrix<f32>, tokens: Range<usize>| {
                collect(tokens.map(|token| logits.row(token)[0]))
            };
            let windows = batch.batch.ranges().map(|tokens| -> Result<_> {
                Ok((of_token(&starts, tokens.clone())?, of_token(&ends, tokens)?))
            });
            try_collect(windows)
        })?;
        for (indices, found) in batches {
            for (index, found) in indices.into_iter().zip(found) {
                windows[index] = found;
            }
        }
        for (encoding, (start, end)) in encodings.iter().zip(&windows) {
            check(HEADROOM)?;
            let context = texts[encoding.sample].text_pair.unwrap_or_default();
            let cls = self.tokenizer()?.cls_token_id();
            let tokens = encoding.sequence_ids.iter().zip(&encoding.input_ids);
            let allowed =
                collect(tokens.map(|(sequence, id)| *sequence == Some(1) || Some(*id) == cls))?;
            let (start, end) = (probabilities(start, &allowed)?, probabilities(end, &allowed)?);
            none[encoding.sample] = none[encoding.sample].min(start[0] * end[0]);
            found[encoding.sample].truncated |= encoding.truncated;
            let answers = &mut found[encoding.sample].answers;
            for span in spans(&start, &end, &allowed, options)? {
                let answer = answer(context, encoding, &span, options.align_to_words);
                let same = answers
                    .iter_mut()
                    .find(|known| known.answer.to_lowercase() == answer.answer.to_lowercase());
                match same {
                    Some(known) => known.score += answer.score,
                    None => answers.push(answer),
                }
            }
        }
        for (Answers { answers, .. }, score) in found.iter_mut().zip(none) {
            if options.handle_impossible_answer {
                let (answer, place) = (String::new(), 0);
                let none = Answer {
                    answer,
                    score,
                    start: place,
                    end: place,
                    char_start: place,
                    char_end: place,
                };
                answers.push(none);
            }
            answers.sort_by(|a, b| b.score.total_cmp(&a.score));
            answers.truncate(options.top_k);
        }
        Ok(found)
    }
}

/// `softmax` over the tokens that may be part of an answer.
fn probabilities(logits: &[f32], allowed: &[bool]) -> Result<Vec<f32>> {
    let logits =
        logits.iter().zip(allowed).map(|(logit, allowed)| if *allowed { *logit } else { -10_000. });
    softmax(&collect(logits)?)
}

/// The most probable spans, sorted by descending score. The first token, `[CLS]`, means that
/// there is no answer, and is in none.
fn spans(
    start: &[f32],
    end: &[f32],
    allowed: &[bool],
    options: &AnswerOptions,
) -> Result<Vec<Span>> {
    // Some spans become one when they are widened to words.
    let most = if options.align_to_words {
        options.top_k.saturating_mul(2).saturating_add(10)
    } else {
        options.top_k
    };
    let mut spans = Vec::new();
    for first in (1..allowed.len()).filter(|place| allowed[*place]) {
        let last = allowed.len().min(first.saturating_add(options.max_answer_len));
        for place in (first..last).filter(|place| allowed[*place]) {
            reserve(&mut spans, 1)?;
            spans.push(Span { start: first, end: place, score: start[first] * end[place] });
        }
    }
    let order = |a: &Span, b: &Span| {
        b.score.total_cmp(&a.score).then_with(|| (a.start, a.end).cmp(&(b.start, b.end)))
    };
    spans.sort_unstable_by(order);
    spans.truncate(most);
    Ok(spans)
}

fn answer(context: &str, encoding: &Encoding, span: &Span, align_to_words: bool) -> Answer {
    // The tokens of this window that make up the word of a token.
    let word = |token: usize| {
        let word = encoding.word_ids[token].filter(|_| align_to_words);
        let same = |other: &usize| {
            encoding.sequence_ids[*other] == Some(1) && encoding.word_ids[*other] == word
        };
        let tokens = (0..encoding.len()).filter(same);
        match (word, tokens.clone().min(), tokens.max()) {
            (Some(_), Some(first), Some(last)) => (first, last),
            _ => (token, token),
        }
    };
    let ((first, _), (_, last)) = (word(span.start), word(span.end));
    let (start, end) = (encoding.offsets[first].0, encoding.offsets[last].1);
    Answer {
        answer: context.get(start..end).unwrap_or_default().to_owned(),
        score: span.score,
        start,
        end,
        char_start: encoding.char_offsets[first].0,
        char_end: encoding.char_offsets[last].1,
    }
}
