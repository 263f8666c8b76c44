//! Words for masks.
//!
//! Source: `FillMaskPipeline`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/pipelines/fill_mask.py>

use super::batches::{Cancel, LongTexts, rows, softmax};
use super::heads::FILL_MASK;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{HEADROOM, check, collect, copied, try_collect};
use crate::module::Module;
use crate::text::{EncodeOptions, Encoding, Text, Tokenizer};
use serde::Serialize;

/// How to fill masks.
#[derive(Debug, Clone)]
pub struct FillMaskOptions {
    /// How many fillings are returned for each mask, the best first.
    pub top_k: usize,
    /// The only tokens that are looked at; any, if none.
    pub targets: Option<Vec<String>>,
    /// What becomes of long texts. Windows are of no use here.
    pub long_texts: LongTexts,
    /// Must not be true, nor be left to a tokenizer's configuration that says so:
    /// the mask is a special token, and could not be found.
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

impl Default for FillMaskOptions {
    fn default() -> Self {
        Self {
            top_k: 5,
            targets: None,
            long_texts: LongTexts::default(),
            split_special_tokens: None,
            max_length: None,
            batch_tokens: None,
            cancel: Cancel::default(),
        }
    }
}

/// A token in the place of a mask.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Filling {
    /// Its score.
    pub score: f32,
    /// Its id.
    pub token: i64,
    /// Its text.
    pub token_str: String,
    /// The whole text with it. Special tokens are left out, unless there are
    /// several masks.
    pub sequence: String,
}

/// The fillings of a text.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Fillings {
    /// For each mask in the order of the text: the fillings, the best first.
    pub masks: Vec<Vec<Filling>>,
    /// Whether the end of the text was cut off.
    pub truncated: bool,
}

impl Module {
    /// Fills the masks of texts: for each text, for each of its masks, the
    /// likeliest tokens. A mask is written as the tokenizer has it, `[MASK]`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the file is no `BertForMaskedLM` or
    /// `BertForPreTraining` or has no tokenizer; [`ErrorKind::InvalidInput`] for
    /// a text without a mask, or a target that is no token.
    pub fn fill_mask<'a, T: Into<Text<'a>>>(
        &self,
        texts: impl IntoIterator<Item = T>,
        options: &FillMaskOptions,
    ) -> Result<Vec<Fillings>> {
        let [output] = self.outputs_of(&FILL_MASK)?;
        let tokenizer = self.tokenizer()?;
        let invalid = |message: String| Error::new(ErrorKind::InvalidInput, message);
        if options.top_k == 0 {
            return Err(invalid("found 0, expected at least 1".to_owned()).at("top_k"));
        }
        if options.long_texts == LongTexts::Window {
            return Err(invalid("windows are of no use to fill masks".to_owned()).at("long_texts"));
        }
        let (mask_id, mask) = tokenizer
            .mask_token()
            .ok_or_else(|| Error::new(ErrorKind::Unsupported, "the tokenizer has no mask token"))?;
        if options.split_special_tokens.unwrap_or(tokenizer.split_special_tokens()) {
            let message = format!("found true, expected false: {mask} is a special token");
            return Err(invalid(message).at("split_special_tokens"));
        }
        let targets =
            options.targets.as_ref().map(|targets| ids(tokenizer, targets)).transpose()?;
        let texts: Vec<Text<'a>> = collect(texts.into_iter().map(Into::into))?;
        let encode = EncodeOptions {
            split_special_tokens: options.split_special_tokens,
            max_length: options.max_length,
            details: false,
            ..EncodeOptions::default()
        };
        let encodings = self.encode_for_task(&texts, options.long_texts, encode)?;
        let masks = |encoding: &Encoding| -> Result<Vec<usize>> {
            let ids = encoding.input_ids.iter().enumerate();
            Ok(collect(ids.filter(|(_, id)| **id == mask_id).map(|(place, _)| place))?)
        };
        let has_no_mask = |encoding: &&Encoding| !encoding.input_ids.contains(&mask_id);
        if let Some(encoding) = encodings.iter().find(has_no_mask) {
            let message = match encoding.truncated {
                true => format!("no {mask} stands in what was not cut off"),
                false => format!("no {mask} is in it"),
            };
            return Err(invalid(message).at_text(encoding.sample));
        }
        let truncated = |encoding: &Encoding| encoding.truncated;
        let fillings = |truncated| Fillings { masks: Vec::new(), truncated };
        let mut found = collect(encodings.iter().map(truncated).map(fillings))?;
        let pass = self.pass(options.batch_tokens, &options.cancel);
        // The fillings of a text, given the logits at each of its masks.
        let fill = |number: usize, logits: &mut dyn FnMut(usize) -> Result<Vec<f32>>| {
            let encoding = &encodings[number];
            let places = masks(encoding)?;
            let fill = |place: &usize| -> Result<Vec<Filling>> {
                let scores = softmax(&logits(*place)?)?;
                let best = best(&scores, targets.as_deref(), options.top_k)?.into_iter();
                let only = places.len() == 1;
                try_collect(best.map(|best| filling(tokenizer, encoding, *place, best, only)))
            };
            try_collect(places.iter().map(fill))
        };
        let batches = match self.packed()? {
            Some(packed) => {
                self.run_packed(packed, &encodings, &pass, |numbers, inputs, team| {
                    let ids = inputs.input_ids.iter().enumerate();
                    let masked = ids.filter(|(_, id)| **id == mask_id).map(|(token, _)| token);
                    let logits = packed.predictions(inputs, &collect(masked)?, team)?;
                    let mut rows = 0..logits.len();
                    let mut next = |_| match rows.next() {
                        Some(row) => Ok(copied(logits.row(row))?),
                        None => Ok(Vec::new()),
                    };
                    try_collect(numbers.iter().map(|number| fill(*number, &mut next)))
                })?
            }
            None => self.run_batches(&encodings, &pass, |numbers, outputs| {
                let logits = outputs.get(output)?;
                let fill = |(row, number): (usize, &usize)| {
                    let logits = logits.f_select(0, row as i64)?;
                    // Only this row is brought to the host: a vocabulary is wide.
                    fill(*number, &mut |place| {
                        Ok(rows(&logits.f_select(0, place as i64)?)?.swap_remove(0))
                    })
                };
                try_collect(numbers.iter().enumerate().map(fill))
            })?,
        };
        for (numbers, filled) in batches {
            for (number, mut of_text) in numbers.into_iter().zip(filled) {
                found[encodings[number].sample].masks.append(&mut of_text);
            }
        }
        Ok(found)
    }
}

/// The ids of tokens, each once.
fn ids(tokenizer: &Tokenizer, targets: &[String]) -> Result<Vec<usize>> {
    let mut ids = Vec::new();
    for target in targets {
        let id = tokenizer.token_to_id(target).ok_or_else(|| {
            let message = format!("{target:?} is not a token of the vocabulary");
            Error::new(ErrorKind::InvalidInput, message).at("targets")
        })?;
        if !ids.contains(&(id as usize)) {
            ids.push(id as usize);
        }
    }
    if ids.is_empty() {
        return Err(Error::new(ErrorKind::InvalidInput, "found none").at("targets"));
    }
    Ok(ids)
}

fn best(scores: &[f32], targets: Option<&[usize]>, top_k: usize) -> Result<Vec<(i64, f32)>> {
    let mut ids: Vec<usize> = match targets {
        Some(targets) => collect(targets.iter().copied().filter(|id| *id < scores.len()))?,
        None => collect(0..scores.len())?,
    };
    let order = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
    let top_k = top_k.min(ids.len());
    if top_k < ids.len() {
        ids.select_nth_unstable_by(top_k, order);
        ids.truncate(top_k);
    }
    ids.sort_unstable_by(order);
    Ok(collect(ids.into_iter().map(|id| (id as i64, scores[id])))?)
}

fn filling(
    tokenizer: &Tokenizer,
    encoding: &Encoding,
    place: usize,
    (token, score): (i64, f32),
    only_mask: bool,
) -> Result<Filling> {
    check(HEADROOM)?;
    let mut ids = copied(&encoding.input_ids)?;
    ids[place] = token;
    ids.retain(|id| *id != tokenizer.pad_token_id());
    Ok(Filling {
        score,
        token,
        token_str: tokenizer.decode(&[token], false)?,
        sequence: tokenizer.decode(&ids, only_mask)?,
    })
}
