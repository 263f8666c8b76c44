//! What is put before texts.

use super::options::LongTexts;
use crate::embedding::Prompts;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{collect, try_collect};
use crate::module::Module;
use crate::text::{EncodeOptions, Encoding, Text};
use bertscript_kernels::OutOfMemory;

impl Module {
    /// The prompt that was given, or that of a name in the file; without either, the file's
    /// default.
    pub(super) fn prompt(&self, prompt: Option<&str>, name: Option<&str>) -> Result<String> {
        if prompt.is_some() && name.is_some() {
            let message = "found prompt_name too, expected one of the two";
            return Err(Error::new(ErrorKind::InvalidInput, message).at("prompt"));
        }
        if let Some(prompt) = prompt {
            return Ok(prompt.to_owned());
        }
        let none = Prompts::default();
        let known = match self.pipeline() {
            Ok(Some(pipeline)) => &pipeline.prompts,
            _ => &none,
        };
        let Some(name) = name.or(known.default_prompt_name.as_deref()) else {
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

    /// Encodes texts after a prompt, up to the limit.
    pub(super) fn encode_prompted(
        &self,
        prompt: &str,
        texts: &[Text<'_>],
        long_texts: LongTexts,
        options: EncodeOptions,
    ) -> Result<Vec<Encoding>> {
        if prompt.is_empty() {
            return self.encode_for_task(texts, long_texts, options);
        }
        let prompted: Vec<String> =
            try_collect(texts.iter().map(|text| joined(prompt, text.text)))?;
        let pairs = texts.iter().map(|text| text.text_pair);
        let prompted = prompted.iter().map(String::as_str).zip(pairs);
        let texts: Vec<Text<'_>> =
            collect(prompted.map(|(text, text_pair)| Text { text, text_pair }))?;
        self.encode_for_task(&texts, long_texts, options)
    }

    /// How many tokens at the start of every sequence are the prompt's.
    pub(super) fn prompt_length(&self, prompt: &str, encode: EncodeOptions) -> Result<usize> {
        if prompt.is_empty() {
            return Ok(0);
        }
        let encoding = self.encode_for_task(&[prompt.into()], LongTexts::Truncate, encode)?;
        let length = encoding[0].len();
        // What closes a sequence does not stand after the prompt.
        let last = encoding[0].input_ids.last().copied();
        Ok(if last == self.tokenizer()?.sep_token_id() { length - 1 } else { length })
    }
}

/// The text after the prompt.
pub(super) fn joined(prompt: &str, text: &str) -> Result<String, OutOfMemory> {
    let bytes = prompt.len() + text.len();
    let mut joined = String::new();
    joined.try_reserve_exact(bytes).map_err(|_| OutOfMemory { bytes })?;
    joined.push_str(prompt);
    joined.push_str(text);
    Ok(joined)
}
