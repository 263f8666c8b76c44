//! Words for masks.
//!
//! Source: `FillMaskPipeline`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/pipelines/fill_mask.py>

use super::batches::Pass;
use super::heads::FILL_MASK;
use super::math::softmax;
use super::options::{Cancel, LongTexts};
use crate::engine::Want;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{HEADROOM, check, collect, copied, try_collect};
use crate::module::Module;
use crate::text::{EncodeOptions, Encoding, Text, Tokenizer};
use serde::Serialize;

/// How to fill masks.
#[derive(Debug, Clone)]
pub struct FillMaskOptions {
    /// How many fillings are returned for each mask, sorted by descending score.
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
    /// For each mask in the order of the text: the fillings, sorted by descending score.
    pub masks: Vec<Vec<Filling>>,
    /// Whether the text was truncated.
    pub truncated: bool,
}

impl Module {
    /// Fills the masks of texts: for each text, for each of its masks, the
    /// most probable tokens. A mask is written as the tokenizer has it, `[MASK]`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the file is no `..ForMaskedLM` or
    /// `..ForPreTraining` or has no tokenizer; [`ErrorKind::InvalidInput`] for
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
                true => format!("no {mask} is left after truncation"),
                false => format!("no {mask} is in it"),
            };
            return Err(invalid(message).at_text(encoding.sample));
        }
        let truncated = |encoding: &Encoding| encoding.truncated;
        let fillings = |truncated| Fillings { masks: Vec::new(), truncated };
        let mut found = collect(encodings.iter().map(truncated).map(fillings))?;
        let pass = Pass { batch_tokens: options.batch_tokens, cancel: &options.cancel };
        let batches = self.run_batches(&encodings, &pass, |indices, batch| {
            let ids = batch.batch.input_ids().iter().enumerate();
            let tokens = collect(ids.filter(|(_, id)| **id == mask_id).map(|(token, _)| token))?;
            // Only these rows: a vocabulary is wide.
            let logits = batch.one(&Want::Tokens { output, tokens: &tokens })?.into_matrix()?;
            let mut rows = 0..logits.len();
            let fill = |index: &usize| {
                let encoding = &encodings[*index];
                let masks = masks(encoding)?;
                let only_mask = masks.len() == 1;
                let fill = |(mask, row): (&usize, usize)| -> Result<Vec<Filling>> {
                    let scores = softmax(logits.row(row))?;
                    let best = best(&scores, targets.as_deref(), options.top_k)?.into_iter();
                    try_collect(
                        best.map(|best| filling(tokenizer, encoding, *mask, best, only_mask)),
                    )
                };
                try_collect(masks.iter().zip(&mut rows).map(fill))
            };
            try_collect(indices.iter().map(fill))
        })?;
        for (indices, filled) in batches {
            for (index, mut of_text) in indices.into_iter().zip(filled) {
                found[encodings[index].sample].masks.append(&mut of_text);
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
