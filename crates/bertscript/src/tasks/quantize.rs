//! Embeddings of texts as they are stored.
//!
//! Source: `SentenceTransformer.encode` with `precision`, <https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/sentence_transformer/model.py>

use super::embed::EmbedOptions;
use crate::embedding::Quantizer;
use crate::error::Result;
use crate::memory::collect;
use crate::module::Module;
use crate::text::Text;

impl Module {
    /// Embeds texts as [`Self::embed`] does, and writes the embeddings to memory of the
    /// caller's as they are stored: a row for each text, of
    /// [`EmbeddingPrecision::row_bytes`](crate::EmbeddingPrecision::row_bytes), that starts
    /// `row_stride` bytes after the one before it. Returns the indices of the texts that
    /// were truncated.
    ///
    /// # Errors
    /// Those of [`Self::embed`]; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput)
    /// if `room` is not of [`Quantizer::room_bytes`], or the ranges of the quantizer have
    /// another dimension than the embeddings.
    pub fn embed_quantized<'a, T: Into<Text<'a>>>(
        &self,
        texts: impl IntoIterator<Item = T>,
        options: &EmbedOptions,
        quantizer: &Quantizer,
        room: &mut [u8],
        row_stride: usize,
    ) -> Result<Vec<usize>> {
        let texts: Vec<Text<'a>> = collect(texts.into_iter().map(Into::into))?;
        let dim = self.embedding_dim(options)?;
        quantizer.check_room(texts.len(), dim, room.len(), row_stride)?;
        let rows = self.embed_rows(texts, options)?;
        quantizer.quantize(&rows.values, dim, room, row_stride)?;
        Ok(rows.truncated)
    }
}
