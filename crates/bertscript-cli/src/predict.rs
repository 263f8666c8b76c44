//! `bertscript predict`

mod compare;
mod report;
mod task;
mod zero_shot;

use self::task::Task;
use crate::options::RunOptions;
use crate::output;
use crate::progress::Progress;
use crate::stream::{Chunk, Chunks, OwnedText};
use anyhow::bail;
use bertscript::{
    AggregationStrategy, AnswerOptions, Cancel, ClassifyOptions, EntitiesOptions, FillMaskOptions,
    FunctionToApply, LongTexts, Module,
};
use clap::Args;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Classify texts, rank them, find entities, answer questions, fill masks, or compare.
///
/// The task follows the file's model class, --query and --candidate-labels. Texts are
/// arguments, or lines of standard input.
#[derive(Args)]
#[command(after_help = "\
Examples:
  bertscript predict sentiment.pt 'What a film!'
  bertscript predict ner.pt 'Ada Lovelace was born in London.'
  bertscript predict qa.pt --question 'Who wrote it?' 'Ada wrote it.'
  bertscript predict mlm.pt 'Paris is the [MASK] of France.'
  bertscript predict minilm.pt --query 'cheap food' < menu.txt
  bertscript predict reranker.pt --query 'cheap food' --top-k 3 < menu.txt
  bertscript predict nli.pt --candidate-labels food,travel 'Where to eat'")]
pub(crate) struct Predict {
    /// The exported file
    file: PathBuf,
    /// The texts [default: lines of standard input]
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
    /// The task [default: that of the file's model class]
    #[arg(long, value_name = "TASK")]
    task: Option<Task>,
    /// Print one line of JSON for each text. `start` and `end` are bytes,
    /// `char_start` and `char_end` characters
    #[arg(long)]
    json: bool,
    /// Each line of the input is JSON: a string, or an object with text and
    /// text_pair
    #[arg(long)]
    jsonl: bool,
    /// The second text, for every TEXT
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["query", "question"])]
    text_pair: Option<String>,
    /// rank: what every TEXT is to answer; of other tasks, the first text, with every
    /// TEXT as the second
    #[arg(long, value_name = "TEXT", conflicts_with = "question")]
    query: Option<String>,
    /// answer: the question, which every TEXT may answer
    #[arg(long, value_name = "TEXT")]
    question: Option<String>,
    /// How many results are printed for each text, or of rank, sorted by descending score;
    /// not of entities [default: 1 of answer, 5 of fill-mask, all of the others]
    #[arg(long, value_name = "N")]
    top_k: Option<NonZeroUsize>,
    /// classify, rank by a cross-encoder, next-sentence: what makes scores of logits: sigmoid, softmax or none
    /// [default: as the model's configuration says]
    #[arg(long, value_name = "NAME")]
    function_to_apply: Option<FunctionToApply>,
    /// zero-shot: the labels that a text may have
    #[arg(long, value_name = "LABEL", value_delimiter = ',', conflicts_with = "query")]
    candidate_labels: Option<Vec<String>>,
    /// zero-shot: what a model of natural language inference is asked about a label, which
    /// takes the place of {} [default: This example is {}.]
    #[arg(long, value_name = "TEXT")]
    hypothesis_template: Option<String>,
    /// zero-shot: several labels may be true, each with a score of its own
    #[arg(long)]
    multi_label: bool,
    /// entities: how tokens become entities: none, simple, first, average or max
    /// [default: simple]
    #[arg(long, value_name = "NAME")]
    aggregation_strategy: Option<AggregationStrategy>,
    /// entities: labels that are left out [default: O]
    #[arg(long, value_name = "LABEL", value_delimiter = ',')]
    ignore_labels: Option<Vec<String>>,
    /// entities: cut long texts into windows that share this many tokens
    #[arg(long, value_name = "N", conflicts_with = "long_texts")]
    stride: Option<usize>,
    /// answer: the maximum length of an answer, in tokens [default: 15]
    #[arg(long, value_name = "N")]
    max_answer_len: Option<usize>,
    /// answer: the maximum length of a window, in tokens [default: 384 or less]
    #[arg(long, value_name = "N")]
    max_seq_len: Option<usize>,
    /// answer: how many tokens windows share [default: 128 or less]
    #[arg(long, value_name = "N")]
    doc_stride: Option<usize>,
    /// answer: no answer is one, too
    #[arg(long)]
    handle_impossible_answer: bool,
    /// answer: an answer may begin and end within a word
    #[arg(long)]
    no_align_to_words: bool,
    /// fill-mask: the only tokens that are looked at
    #[arg(long, value_name = "TOKEN", value_delimiter = ',')]
    targets: Option<Vec<String>>,
    /// The budget of a batch, in tokens with padding [default: 4096 on the CPU, 32768
    /// on a CUDA device]
    #[arg(long, value_name = "N")]
    batch_tokens: Option<usize>,
    /// What becomes of texts longer than the model takes: truncate, refuse or
    /// window [default: window for answers, truncate for all else]
    #[arg(long, value_name = "HOW")]
    long_texts: Option<LongTexts>,
    /// Read special tokens in the text as plain text, as untrusted text should be
    /// [default: as tokenizer_config.json says]; not of fill-mask, where the mask is a
    /// special token
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    split_special_tokens: Option<bool>,
    /// The max length of a text in tokens, special tokens included [default: the
    /// model's]
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    #[command(flatten)]
    options: RunOptions,
}

impl Predict {
    pub(crate) fn execute(self) -> anyhow::Result<ExitCode> {
        let progress = Progress::start("loading");
        let module = self.options.load(&self.file)?;
        let task = match self.task {
            Some(task) => task,
            None => Task::of(&module, self.query.is_some(), self.candidate_labels.is_some())?,
        };
        self.refuse_options_of_others(task)?;
        if task == Task::Answer && self.question.is_none() && !self.jsonl {
            bail!(
                "what is the question? Give --question, or --jsonl with question as text and context as text_pair"
            );
        }
        if task == Task::Rank && self.query.is_none() {
            bail!("what is the query? Give --query");
        }
        if task == Task::ZeroShot && self.candidate_labels.is_none() {
            bail!("what are the labels? Give --candidate-labels");
        }
        progress.stage("running");
        let (mut texts, mut truncated) = (0, 0);
        let chunks: Box<dyn Iterator<Item = anyhow::Result<Chunk>> + '_> = match task {
            // Of all texts at once.
            Task::Similarity | Task::Rank => {
                Box::new(std::iter::once(Chunk::whole(self.chunks(task)?)))
            }
            _ => self.chunks(task)?,
        };
        for chunk in chunks {
            let chunk = chunk?;
            let (text, cut) = self.predict(&module, task, &chunk)?;
            texts += chunk.texts.len();
            truncated += cut;
            progress.clear();
            output::print(&text)?;
        }
        drop(progress);
        if truncated > 0 {
            let limit = self.max_length.unwrap_or(module.tokenizer()?.max_length());
            output::say(&format!(
                "longer than {limit} tokens, and truncated: {truncated} of {texts} texts (--long-texts chooses otherwise)"
            ));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Options that would do nothing are mistakes.
    fn refuse_options_of_others(&self, task: Task) -> anyhow::Result<()> {
        use Task::{Answer, Classify, Entities, FillMask, NextSentence, Rank, ZeroShot};
        let options: [(&str, bool, &[Task]); 16] = [
            ("--text-pair", self.text_pair.is_some(), &[Classify, NextSentence, Answer]),
            ("--query", self.query.is_some(), &[Classify, Rank, NextSentence]),
            ("--question", self.question.is_some(), &[Answer]),
            (
                "--top-k",
                self.top_k.is_some(),
                &[Classify, Rank, ZeroShot, NextSentence, Answer, FillMask],
            ),
            (
                "--function-to-apply",
                self.function_to_apply.is_some(),
                &[Classify, Rank, NextSentence],
            ),
            ("--candidate-labels", self.candidate_labels.is_some(), &[ZeroShot]),
            ("--hypothesis-template", self.hypothesis_template.is_some(), &[ZeroShot]),
            ("--multi-label", self.multi_label, &[ZeroShot]),
            ("--aggregation-strategy", self.aggregation_strategy.is_some(), &[Entities]),
            ("--ignore-labels", self.ignore_labels.is_some(), &[Entities]),
            ("--stride", self.stride.is_some(), &[Entities]),
            ("--max-answer-len", self.max_answer_len.is_some(), &[Answer]),
            ("--max-seq-len", self.max_seq_len.is_some(), &[Answer]),
            ("--doc-stride", self.doc_stride.is_some(), &[Answer]),
            ("--targets", self.targets.is_some(), &[FillMask]),
            (
                "--handle-impossible-answer and --no-align-to-words",
                self.handle_impossible_answer || self.no_align_to_words,
                &[Answer],
            ),
        ];
        for (option, given, tasks) in options {
            if given && !tasks.contains(&task) {
                let tasks: Vec<_> = tasks.iter().map(|task| task.name()).collect();
                let task = task.name();
                bail!("{option}: for {}, but the task is {task}", tasks.join(", "));
            }
        }
        Ok(())
    }

    /// The arguments as one chunk, or standard input in many.
    fn chunks(
        &self,
        task: Task,
    ) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Chunk>> + '_>> {
        let first = self.query.as_ref().filter(|_| task != Task::Rank);
        let first = self.question.as_ref().or(first);
        let complete = move |mut text: OwnedText| match (first, &self.text_pair) {
            (Some(first), _) => OwnedText { text: first.clone(), text_pair: Some(text.text) },
            (None, Some(pair)) => {
                text.text_pair.get_or_insert_with(|| pair.clone());
                text
            }
            (None, None) => text,
        };
        let chunks: Box<dyn Iterator<Item = anyhow::Result<Chunk>>> = if self.texts.is_empty() {
            Box::new(Chunks::open(None, self.jsonl, Cancel::default())?)
        } else {
            Box::new(std::iter::once(Ok(Chunk::of_arguments(&self.texts))))
        };
        Ok(Box::new(chunks.map(move |chunk| {
            let Chunk { first, texts, noun } = chunk?;
            Ok(Chunk { first, texts: texts.into_iter().map(complete).collect(), noun })
        })))
    }

    /// What is printed for a chunk, and how many of its texts were cut.
    fn predict(
        &self,
        module: &Module,
        task: Task,
        chunk: &Chunk,
    ) -> anyhow::Result<(String, usize)> {
        let (batch_tokens, max_length) = (self.batch_tokens, self.max_length);
        let split_special_tokens = self.split_special_tokens;
        let long_texts = self.long_texts.unwrap_or_default();
        let blame = |error| chunk.blame(error);
        let classify = ClassifyOptions {
            function_to_apply: self.function_to_apply,
            top_k: self.top_k.map(NonZeroUsize::get),
            long_texts,
            split_special_tokens,
            max_length,
            batch_tokens,
            ..ClassifyOptions::default()
        };
        match task {
            Task::Classify | Task::NextSentence => {
                let found = match task {
                    Task::Classify => module.classify(chunk.texts(), &classify),
                    _ => module.next_sentence(chunk.texts(), &classify),
                }
                .map_err(blame)?;
                let cut = found.iter().filter(|found| found.truncated).count();
                Ok((self.print(chunk, &found, report::labels)?, cut))
            }
            Task::Entities => {
                let usual = EntitiesOptions::default();
                let options = EntitiesOptions {
                    aggregation_strategy: self.aggregation_strategy.unwrap_or_default(),
                    ignore_labels: self.ignore_labels.clone().unwrap_or(usual.ignore_labels),
                    long_texts: match self.stride {
                        Some(_) => LongTexts::Window,
                        None => long_texts,
                    },
                    stride: self.stride.unwrap_or(0),
                    split_special_tokens,
                    max_length,
                    batch_tokens,
                    cancel: usual.cancel,
                };
                let found = module.entities(chunk.texts(), &options).map_err(blame)?;
                let cut = found.iter().filter(|found| found.truncated).count();
                Ok((self.print(chunk, &found, report::entities)?, cut))
            }
            Task::Answer => {
                let usual = AnswerOptions::default();
                let options = AnswerOptions {
                    top_k: self.top_k.map_or(usual.top_k, NonZeroUsize::get),
                    max_answer_len: self.max_answer_len.unwrap_or(usual.max_answer_len),
                    max_seq_len: self.max_seq_len,
                    doc_stride: self.doc_stride,
                    handle_impossible_answer: self.handle_impossible_answer,
                    align_to_words: !self.no_align_to_words,
                    long_texts: self.long_texts.unwrap_or(usual.long_texts),
                    split_special_tokens,
                    max_length,
                    batch_tokens,
                    ..usual
                };
                let found = module.answer(chunk.texts(), &options).map_err(blame)?;
                let cut = found.iter().filter(|found| found.truncated).count();
                Ok((self.print(chunk, &found, report::answers)?, cut))
            }
            Task::FillMask => {
                let usual = FillMaskOptions::default();
                let options = FillMaskOptions {
                    top_k: self.top_k.map_or(usual.top_k, NonZeroUsize::get),
                    targets: self.targets.clone(),
                    long_texts,
                    split_special_tokens,
                    max_length,
                    batch_tokens,
                    ..usual
                };
                let found = module.fill_mask(chunk.texts(), &options).map_err(blame)?;
                let cut = found.iter().filter(|found| found.truncated).count();
                Ok((self.print(chunk, &found, report::masks)?, cut))
            }
            Task::Rank => self.rank(module, chunk),
            Task::ZeroShot => self.zero_shot(module, chunk),
            Task::Similarity => self.similarity(module, chunk),
        }
    }

    /// JSON lines, or a paragraph for each text.
    fn print<T: serde::Serialize>(
        &self,
        chunk: &Chunk,
        found: &[T],
        report: fn(&T) -> Vec<Vec<String>>,
    ) -> anyhow::Result<String> {
        let mut text = String::new();
        for (input, found) in chunk.texts.iter().zip(found) {
            if self.json {
                text += &serde_json::to_string(found)?;
                text.push('\n');
            } else {
                text += &report::paragraph(input, &report(found));
            }
        }
        Ok(text)
    }
}

/// The texts of a task that takes no pairs.
fn texts_alone(chunk: &Chunk) -> anyhow::Result<Vec<&str>> {
    let texts = chunk.texts.iter().enumerate().map(|(index, text)| match text.text_pair {
        None => Ok(text.text.as_str()),
        Some(_) => {
            bail!("{} {}: found text_pair, expected none", chunk.noun, chunk.first + index + 1)
        }
    });
    texts.collect()
}
