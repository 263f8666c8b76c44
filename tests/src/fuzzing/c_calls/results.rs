//! Texts, and what tasks find in them.

use super::Sequence;
use arbitrary::Result;
use bertscript_ffi::*;
use std::ffi::{CStr, c_char};
use std::ptr::{null, null_mut};

/// Texts as C has them: pointers and lengths.
pub(super) struct Texts {
    pointers: Vec<*const c_char>,
    lengths: Vec<usize>,
    _owned: Vec<Vec<u8>>,
}

impl Texts {
    pub(super) fn pointers(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }

    pub(super) fn lengths(&self) -> *const usize {
        self.lengths.as_ptr()
    }
}

/// Results of one kind: a task, its results one by one, and all as JSON.
macro_rules! read_results {
    ($results:ident, $count:ident, $size:ident, $get:ident, $truncated:ident, $json:ident, $free:ident) => {
        unsafe {
            for text in 0..=$count($results) {
                for index in 0..=$size($results, text) {
                    let found = $get($results, text, index);
                    assert_eq!(found.is_null(), index == $size($results, text));
                }
                $truncated($results, text);
            }
            assert!(!CStr::from_ptr($json($results)).is_empty());
            $free($results);
        }
    };
}

impl Sequence<'_> {
    /// The tasks, and options of none before them.
    pub(super) const TASKS: [fn(&mut Self) -> Result<()>; 12] = [
        Self::embed,
        Self::similarity,
        Self::classify,
        Self::entities,
        Self::answer,
        Self::fill_mask,
        Self::next_sentence,
        Self::renew_options,
        Self::embed_sparse,
        Self::embed_quantized,
        Self::rank,
        Self::zero_shot,
    ];

    pub(super) fn texts(&mut self, count: usize) -> Result<Texts> {
        let owned = (0..count).map(|_| self.text()).collect::<Result<Vec<_>>>()?;
        let pointers = owned.iter().map(|text| text.as_ptr().cast()).collect();
        let lengths = owned.iter().map(Vec::len).collect();
        Ok(Texts { pointers, lengths, _owned: owned })
    }

    pub(super) fn count(&mut self) -> Result<usize> {
        self.input.int_in_range(0..=3)
    }

    pub(super) fn encode(&mut self) -> Result<()> {
        let (tokenizer, count) = (self.tokenizer()?, self.count()?);
        let (texts, pairs) = (self.texts(count)?, self.texts(count)?);
        let second = if self.input.arbitrary()? { pairs.pointers() } else { null() };
        let options = self.encode_options;
        self.make(
            |out, err| unsafe {
                let (first, lengths, others) = (texts.pointers(), texts.lengths(), pairs.lengths());
                bertscript_tokenizer_encode(
                    tokenizer, first, lengths, second, others, count, options, out, err,
                )
            },
            |own| &mut own.encodings,
        );
        Ok(())
    }

    pub(super) fn decode(&mut self) -> Result<()> {
        let (tokenizer, skip, token) = (self.tokenizer()?, self.int32()?, self.word()?);
        let ids = (0..self.count()?).map(|_| self.id()).collect::<Result<Vec<_>>>()?;
        let id = self.id()?;
        let mut room = vec![0_u8; self.input.int_in_range(0..=40)?];
        let (buffer, capacity, mut length) = (room.as_mut_ptr().cast(), room.len(), 0);
        let place = &raw mut length;
        self.call(|err| unsafe {
            let (ids, count) = (ids.as_ptr(), ids.len());
            bertscript_tokenizer_decode(tokenizer, ids, count, skip, buffer, capacity, place, err)
        });
        self.call(|err| unsafe {
            bertscript_tokenizer_id_to_token(tokenizer, id, buffer, capacity, place, err)
        });
        unsafe {
            bertscript_tokenizer_token_to_id(tokenizer, token.as_ptr());
            bertscript_tokenizer_vocab_size(tokenizer);
            bertscript_tokenizer_max_length(tokenizer);
            self.tokenizers.push(bertscript_tokenizer_clone(tokenizer));
        }
        Ok(())
    }

    pub(super) fn read_encoding(&mut self) -> Result<()> {
        let encoding = super::one_of(&mut self.input, &self.encodings)?;
        let (row, index) = (self.size()?, self.size()?);
        unsafe {
            let length = bertscript_encoding_length(encoding, row);
            for list in [
                bertscript_encoding_input_ids(encoding, row),
                bertscript_encoding_attention_mask(encoding, row),
                bertscript_encoding_token_type_ids(encoding, row),
                bertscript_encoding_special_tokens_mask(encoding, row),
                bertscript_encoding_word_ids(encoding, row),
                bertscript_encoding_sequence_ids(encoding, row),
                bertscript_encoding_offsets(encoding, row).cast(),
                bertscript_encoding_char_offsets(encoding, row).cast(),
            ] {
                if !list.is_null() {
                    std::hint::black_box(std::slice::from_raw_parts(list, length).to_vec());
                }
            }
            let token = bertscript_encoding_token(encoding, row, index);
            assert!(token.is_null() || index < length);
            bertscript_encoding_sample(encoding, row);
            bertscript_encoding_truncated(encoding, row);
        }
        Ok(())
    }

    pub(super) fn encoding_tensors(&mut self) -> Result<()> {
        let encoding = super::one_of(&mut self.input, &self.encodings)?;
        let mut made = [null_mut(); 3];
        let [ids, mask, types] = made.each_mut().map(|place| &raw mut *place);
        if self.call(|err| unsafe { bertscript_encoding_tensors(encoding, ids, mask, types, err) })
        {
            self.tensors.extend(made);
        }
        Ok(())
    }

    fn rank(&mut self) -> Result<()> {
        let (module, count, options) = (self.module()?, self.count()?, self.task_options);
        let (query, texts) = (self.word()?, self.texts(count)?);
        let mut found = null_mut();
        if self.call(|err| unsafe {
            let (texts, lengths, place) = (texts.pointers(), texts.lengths(), &raw mut found);
            let query = query.as_ptr();
            bertscript_module_rank(module, query, texts, lengths, count, options, place, err)
        }) {
            unsafe {
                let ranked = bertscript_ranking_count(found);
                assert!(ranked <= count);
                for rank in 0..ranked {
                    assert!((*bertscript_ranking_get(found, rank)).index < count);
                }
                assert!(bertscript_ranking_get(found, ranked).is_null());
                assert!(!CStr::from_ptr(bertscript_ranking_json(found)).is_empty());
                bertscript_ranking_free(found);
            }
        }
        Ok(())
    }

    fn zero_shot(&mut self) -> Result<()> {
        let (module, count, options) = (self.module()?, self.count()?, self.task_options);
        let (texts, labels) = (self.texts(count)?, [self.word()?, self.word()?]);
        let labels = labels.each_ref().map(|label| label.as_ptr());
        let label_count = self.input.int_in_range(0..=labels.len())?;
        let mut found = null_mut();
        self.call(|err| unsafe {
            bertscript_module_zero_shot(
                module,
                texts.pointers(),
                texts.lengths(),
                count,
                labels.as_ptr(),
                label_count,
                options,
                &raw mut found,
                err,
            )
        });
        self.labels(found)
    }

    fn classify(&mut self) -> Result<()> {
        let (module, count, options) = (self.module()?, self.count()?, self.task_options);
        let (texts, pairs) = (self.texts(count)?, self.texts(count)?);
        let second = if self.input.arbitrary()? { pairs.pointers() } else { null() };
        let mut found = null_mut();
        self.call(|err| unsafe {
            let (first, lengths, others) = (texts.pointers(), texts.lengths(), pairs.lengths());
            bertscript_module_classify(
                module,
                first,
                lengths,
                second,
                others,
                count,
                options,
                &raw mut found,
                err,
            )
        });
        self.labels(found)
    }

    fn next_sentence(&mut self) -> Result<()> {
        let (module, count, options) = (self.module()?, self.count()?, self.task_options);
        let (texts, pairs) = (self.texts(count)?, self.texts(count)?);
        let mut found = null_mut();
        self.call(|err| unsafe {
            let (first, second) = (texts.pointers(), pairs.pointers());
            let (lengths, others) = (texts.lengths(), pairs.lengths());
            bertscript_module_next_sentence(
                module,
                first,
                lengths,
                second,
                others,
                count,
                options,
                &raw mut found,
                err,
            )
        });
        self.labels(found)
    }

    fn labels(&mut self, found: *mut bertscript_classifications) -> Result<()> {
        if !found.is_null() {
            read_results!(
                found,
                bertscript_classifications_count,
                bertscript_classifications_size,
                bertscript_classifications_get,
                bertscript_classifications_truncated,
                bertscript_classifications_json,
                bertscript_classifications_free
            );
        }
        Ok(())
    }

    fn entities(&mut self) -> Result<()> {
        let (module, count, options) = (self.module()?, self.count()?, self.task_options);
        let texts = self.texts(count)?;
        let mut found = null_mut();
        if self.call(|err| unsafe {
            let (texts, lengths) = (texts.pointers(), texts.lengths());
            bertscript_module_entities(module, texts, lengths, count, options, &raw mut found, err)
        }) {
            read_results!(
                found,
                bertscript_entities_count,
                bertscript_entities_size,
                bertscript_entities_get,
                bertscript_entities_truncated,
                bertscript_entities_json,
                bertscript_entities_free
            );
        }
        Ok(())
    }

    fn answer(&mut self) -> Result<()> {
        let (module, count, options) = (self.module()?, self.count()?, self.task_options);
        let (questions, contexts) = (self.texts(count)?, self.texts(count)?);
        let mut found = null_mut();
        if self.call(|err| unsafe {
            let (first, second) = (questions.pointers(), contexts.pointers());
            let (lengths, others) = (questions.lengths(), contexts.lengths());
            bertscript_module_answer(
                module,
                first,
                lengths,
                second,
                others,
                count,
                options,
                &raw mut found,
                err,
            )
        }) {
            read_results!(
                found,
                bertscript_answers_count,
                bertscript_answers_size,
                bertscript_answers_get,
                bertscript_answers_truncated,
                bertscript_answers_json,
                bertscript_answers_free
            );
        }
        Ok(())
    }

    fn fill_mask(&mut self) -> Result<()> {
        let (module, count, options) = (self.module()?, self.count()?, self.task_options);
        let texts = self.texts(count)?;
        let mut found = null_mut();
        if self.call(|err| unsafe {
            let (texts, lengths) = (texts.pointers(), texts.lengths());
            bertscript_module_fill_mask(module, texts, lengths, count, options, &raw mut found, err)
        }) {
            read_results!(
                found,
                bertscript_fillings_count,
                bertscript_fillings_size,
                bertscript_fillings_get,
                bertscript_fillings_truncated,
                bertscript_fillings_json,
                bertscript_fillings_free
            );
        }
        Ok(())
    }
}
