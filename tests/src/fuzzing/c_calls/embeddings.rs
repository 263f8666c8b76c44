//! Texts as embeddings.

use super::Sequence;
use arbitrary::Result;
use bertscript_ffi::*;
use std::ptr::null_mut;

impl Sequence<'_> {
    pub(super) fn embed(&mut self) -> Result<()> {
        let (module, count) = (self.module()?, self.count()?);
        let (texts, options) = (self.texts(count)?, self.task_options);
        let mut truncated = [9; 3];
        let place = truncated.as_mut_ptr();
        self.make(
            |out, err| unsafe {
                let (texts, lengths) = (texts.pointers(), texts.lengths());
                bertscript_module_embed(module, texts, lengths, count, options, out, place, err)
            },
            |own| &mut own.tensors,
        );
        Ok(())
    }

    pub(super) fn embed_quantized(&mut self) -> Result<()> {
        let (module, count) = (self.module()?, self.count()?);
        let (texts, options, stride) = (self.texts(count)?, self.task_options, self.size()?);
        let mut room = vec![0_u8; self.input.int_in_range(0..=300)?];
        let (destination, capacity) = (room.as_mut_ptr().cast(), room.len());
        let (mut written, mut truncated) = (0, [9; 3]);
        let (place, cut) = (&raw mut written, truncated.as_mut_ptr());
        self.call(|err| unsafe {
            let (texts, lengths) = (texts.pointers(), texts.lengths());
            bertscript_module_embed_quantized(
                module,
                texts,
                lengths,
                count,
                options,
                destination,
                stride,
                capacity,
                place,
                cut,
                err,
            )
        });
        Ok(())
    }

    pub(super) fn similarity(&mut self) -> Result<()> {
        let (module, a, b) = (self.module()?, self.tensor()?, self.tensor()?);
        let compare = |out, err| unsafe { bertscript_module_similarity(module, a, b, out, err) };
        self.make(compare, |own| &mut own.tensors);
        Ok(())
    }

    pub(super) fn embed_sparse(&mut self) -> Result<()> {
        let (module, count, options) = (self.module()?, self.count()?, self.task_options);
        let texts = self.texts(count)?;
        let mut found = null_mut();
        if self.call(|err| unsafe {
            let (texts, lengths) = (texts.pointers(), texts.lengths());
            let found = &raw mut found;
            bertscript_module_embed_sparse(module, texts, lengths, count, options, found, err)
        }) {
            unsafe {
                assert!(bertscript_sparse_embeddings_dimension(found) > 0);
                for text in 0..=bertscript_sparse_embeddings_count(found) {
                    let size = bertscript_sparse_embeddings_size(found, text);
                    let indices = bertscript_sparse_embeddings_indices(found, text);
                    let values = bertscript_sparse_embeddings_values(found, text);
                    if size > 0 {
                        let last = size - 1;
                        assert!(*indices.add(last) as usize >= last && *values.add(last) != 0.);
                    }
                    bertscript_sparse_embeddings_truncated(found, text);
                }
                bertscript_sparse_embeddings_free(found);
            }
        }
        Ok(())
    }
}
