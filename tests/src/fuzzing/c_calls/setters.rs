//! Options, whatever they are set to.

use super::Sequence;
use arbitrary::Result;
use bertscript_ffi::*;

impl Sequence<'_> {
    pub(super) fn set_encode_options(&mut self) -> Result<()> {
        let options = self.encode_options;
        let (flag, size, word) = (self.int32()?, self.size()?, self.word()?);
        let word = word.as_ptr();
        let which = self.input.int_in_range(0..=8)?;
        self.call(|err| unsafe {
            match which {
                0 => bertscript_encode_options_set_add_special_tokens(options, flag, err),
                1 => bertscript_encode_options_set_split_special_tokens(options, flag, err),
                2 => bertscript_encode_options_set_return_overflowing_tokens(options, flag, err),
                3 => bertscript_encode_options_set_details(options, flag, err),
                4 => bertscript_encode_options_set_max_length(options, size, err),
                5 => bertscript_encode_options_set_stride(options, size, err),
                6 => bertscript_encode_options_set_pad_to_multiple_of(options, size, err),
                7 => bertscript_encode_options_set_truncation(options, word, err),
                _ => bertscript_encode_options_set_padding(options, word, err),
            }
        });
        Ok(())
    }

    pub(super) fn set_task_options(&mut self) -> Result<()> {
        let options = self.task_options;
        let (flag, size) = (self.int32()?, self.size()?);
        let words = [self.word()?, self.word()?];
        let words = words.each_ref().map(|word| word.as_ptr());
        let count = self.input.int_in_range(0..=words.len())?;
        let which = self.input.int_in_range(0..=24)?;
        let ranges = [0., 1., flag as f32, size as f32];
        let (word, words) = (words[0], words.as_ptr());
        self.call(|err| unsafe {
            match which {
                0 => bertscript_task_options_set_batch_tokens(options, size, err),
                1 => bertscript_task_options_set_long_texts(options, word, err),
                2 => bertscript_task_options_set_top_k(options, size, err),
                3 => bertscript_task_options_set_max_answer_len(options, size, err),
                4 => bertscript_task_options_set_max_seq_len(options, size, err),
                5 => bertscript_task_options_set_doc_stride(options, size, err),
                6 => bertscript_task_options_set_handle_impossible_answer(options, flag, err),
                7 => bertscript_task_options_set_align_to_words(options, flag, err),
                8 => bertscript_task_options_set_pooling(options, words, count, err),
                9 => bertscript_task_options_set_normalize(options, flag, err),
                10 => bertscript_task_options_set_prompt(options, word, err),
                11 => bertscript_task_options_set_prompt_name(options, word, err),
                12 => bertscript_task_options_set_truncate_dim(options, size, err),
                13 => bertscript_task_options_set_function_to_apply(options, word, err),
                14 => bertscript_task_options_set_aggregation_strategy(options, word, err),
                15 => bertscript_task_options_set_ignore_labels(options, words, count, err),
                16 => bertscript_task_options_set_targets(options, words, count, err),
                17 => bertscript_task_options_set_stride(options, size, err),
                19 => bertscript_task_options_set_max_active_dims(options, size, err),
                20 => bertscript_task_options_set_embedding_precision(options, word, err),
                21 => bertscript_task_options_set_ranges(options, ranges.as_ptr(), 2 * count, err),
                22 => bertscript_task_options_set_hypothesis_template(options, word, err),
                23 => bertscript_task_options_set_multi_label(options, flag, err),
                18 => bertscript_task_options_set_split_special_tokens(options, flag, err),
                _ => bertscript_task_options_set_max_length(options, size, err),
            }
        });
        Ok(())
    }

    /// Options that nobody has set, where those of the sequence go wrong too often.
    pub(super) fn renew_options(&mut self) -> Result<()> {
        unsafe {
            bertscript_encode_options_free(self.encode_options);
            bertscript_task_options_free(self.task_options);
            bertscript_run_options_free(self.run_options);
            self.encode_options = bertscript_encode_options_new();
            self.task_options = bertscript_task_options_new();
            self.run_options = bertscript_run_options_new();
        }
        Ok(())
    }
}
