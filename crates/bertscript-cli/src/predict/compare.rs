//! Texts compared with a query, or with one another.

use super::{Predict, report, texts_alone};
use crate::stream::Chunk;
use bertscript::{EmbedOptions, Module, RankOptions};
use std::num::NonZeroUsize;

impl Predict {
    /// The texts, by how well they answer the query.
    pub(super) fn rank(&self, module: &Module, chunk: &Chunk) -> anyhow::Result<(String, usize)> {
        let options = RankOptions {
            function_to_apply: self.function_to_apply,
            long_texts: self.long_texts.unwrap_or_default(),
            split_special_tokens: self.split_special_tokens,
            max_length: self.max_length,
            batch_tokens: self.batch_tokens,
            ..RankOptions::default()
        };
        let query = self.query.as_deref().unwrap_or_default();
        let texts = texts_alone(chunk)?;
        let ranked = module.rank(query, texts.iter().copied(), &options);
        let mut ranked = ranked.map_err(|error| chunk.blame(error))?;
        // All that were truncated are told, whether they are shown or not.
        let cut = ranked.iter().filter(|ranked| ranked.truncated).count();
        ranked.truncate(self.top_k.map_or(usize::MAX, NonZeroUsize::get));
        Ok((report::ranking(&texts, &ranked, self.json), cut))
    }

    /// Every text with every other.
    pub(super) fn similarity(
        &self,
        module: &Module,
        chunk: &Chunk,
    ) -> anyhow::Result<(String, usize)> {
        let options = EmbedOptions {
            batch_tokens: self.batch_tokens,
            long_texts: self.long_texts.unwrap_or_default(),
            split_special_tokens: self.split_special_tokens,
            max_length: self.max_length,
            ..EmbedOptions::default()
        };
        let texts: Vec<&str> = chunk.texts.iter().map(|text| text.text.as_str()).collect();
        let embeddings = module.embed(texts.iter().copied(), &options);
        let embeddings = embeddings.map_err(|error| chunk.blame(error))?;
        let scores = module.similarity(&embeddings, &embeddings)?;
        let rows: Vec<_> = scores.as_slice()?.chunks(texts.len().max(1)).collect();
        let text = report::matrix(&texts, &rows, self.json)?;
        Ok((text, embeddings.truncated().len()))
    }
}
