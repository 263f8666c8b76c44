//! Labels that are given.

use super::{Predict, report, texts_alone};
use crate::stream::Chunk;
use bertscript::{Module, ZeroShotOptions};
use std::num::NonZeroUsize;

impl Predict {
    /// The labels that were given, of each text.
    pub(super) fn zero_shot(
        &self,
        module: &Module,
        chunk: &Chunk,
    ) -> anyhow::Result<(String, usize)> {
        let usual = ZeroShotOptions::default();
        let template = self.hypothesis_template.clone();
        let options = ZeroShotOptions {
            hypothesis_template: template.unwrap_or(usual.hypothesis_template),
            multi_label: self.multi_label,
            top_k: self.top_k.map(NonZeroUsize::get),
            long_texts: self.long_texts.unwrap_or_default(),
            split_special_tokens: self.split_special_tokens,
            max_length: self.max_length,
            batch_tokens: self.batch_tokens,
            cancel: usual.cancel,
        };
        let labels = self.candidate_labels.iter().flatten().map(|label| label.trim());
        let labels: Vec<_> = labels.filter(|label| !label.is_empty()).collect();
        let found = module.zero_shot(texts_alone(chunk)?, &labels, &options);
        let found = found.map_err(|error| chunk.blame(error))?;
        let cut = found.iter().filter(|found| found.truncated).count();
        Ok((self.print(chunk, &found, report::labels)?, cut))
    }
}
