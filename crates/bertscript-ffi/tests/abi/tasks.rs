//! Text in, answers out: the results are those of the Rust library.

use crate::{fixture, text, told, traced, values};
use bertscript::{ClassifyOptions, EmbedOptions, EntitiesOptions, FillMaskOptions, Shapes};
use bertscript_ffi::*;
use std::ffi::{CStr, c_char};
use std::ptr::{null, null_mut};

/// The same fixture in the Rust library.
pub(crate) fn in_rust(name: &str) -> bertscript::Module {
    let directory = fixture(name);
    let checkpoint = bertscript::Checkpoint::open(directory.to_str().unwrap()).unwrap();
    let options = bertscript::LoadOptions::default();
    let model = bertscript::PreTrained::from_checkpoint(&checkpoint, &options).unwrap();
    model.to_module(&Shapes::Any).unwrap()
}

fn pointers<const N: usize>(texts: [&CStr; N]) -> [*const c_char; N] {
    texts.map(CStr::as_ptr)
}

/// A task's results from C: `call` gets the places of the results and the error.
pub(crate) fn ok<T>(
    call: impl FnOnce(*mut *mut T, *mut *mut bertscript_error) -> bertscript_status,
) -> *mut T {
    let (mut out, mut error) = (null_mut(), null_mut());
    let status = call(&raw mut out, &raw mut error);
    if status != BERTSCRIPT_OK {
        panic!("{:?}", told(status, error));
    }
    out
}

#[test]
fn embeddings_are_those_of_rust_and_say_what_was_cut() {
    let module = traced("text/sentence");
    let long = "cat ".repeat(200);
    let texts = ["the cat", long.as_str(), ""];
    let bytes = texts.map(|text| text.as_ptr().cast::<c_char>());
    let lengths = texts.map(str::len);
    let mut truncated = [-1; 3];
    let options = bertscript_task_options_new();
    unsafe {
        bertscript_task_options_set_truncate_dim(options, 5, null_mut());
        bertscript_task_options_set_batch_tokens(options, 64, null_mut());
        let found = ok(|out, err| {
            let (texts, lengths) = (bytes.as_ptr(), lengths.as_ptr());
            let flags = truncated.as_mut_ptr();
            bertscript_module_embed(module, texts, lengths, 3, options, out, flags, err)
        });
        let options = EmbedOptions {
            truncate_dim: Some(5),
            batch_tokens: Some(64),
            ..EmbedOptions::default()
        };
        let wanted = in_rust("text/sentence").embed(texts, &options).unwrap();
        assert_eq!(wanted.truncated(), [1]);
        assert_eq!(truncated, [0, 1, 0]);
        assert_eq!(values(found), wanted.as_slice());
        let similar = ok(|out, err| bertscript_module_similarity(module, found, found, out, err));
        assert_eq!(bertscript_tensor_numel(similar), 9);
        bertscript_tensor_free(similar);
        bertscript_tensor_free(found);
        bertscript_module_free(module);
    }
}

#[test]
fn a_task_refuses_options_of_another() {
    let module = traced("text/sentence");
    let options = bertscript_task_options_new();
    let texts = pointers([c"a"]);
    unsafe {
        bertscript_task_options_set_top_k(options, 3, null_mut());
        let (mut out, mut error) = (null_mut(), null_mut());
        let embed = |options, out, error| {
            bertscript_module_embed(
                module,
                texts.as_ptr(),
                null(),
                1,
                options,
                out,
                null_mut(),
                error,
            )
        };
        let status = embed(options, &raw mut out, &raw mut error);
        let message = "options: embed has no top_k, expected batch_tokens, long_texts, \
                       split_special_tokens, max_length, pooling, normalize, prompt, prompt_name, truncate_dim";
        assert_eq!(told(status, error), (BERTSCRIPT_INVALID_ARGUMENT, message.to_owned()));
        bertscript_task_options_free(options);

        let options = bertscript_task_options_new();
        let token = bertscript_cancel_token_new();
        let clone = bertscript_cancel_token_clone(token);
        bertscript_task_options_set_cancel_token(options, token, null_mut());
        assert_eq!(bertscript_cancel_token_is_cancelled(token), 0);
        bertscript_cancel_token_cancel(clone);
        assert_eq!(bertscript_cancel_token_is_cancelled(token), 1);
        let mut error = null_mut();
        let status = embed(options, &raw mut out, &raw mut error);
        assert_eq!(told(status, error).0, BERTSCRIPT_CANCELLED);
        assert!(out.is_null());
        // NULL takes the token away again.
        bertscript_task_options_set_cancel_token(options, null(), null_mut());
        assert_eq!(embed(options, &raw mut out, null_mut()), BERTSCRIPT_OK);
        bertscript_tensor_free(out);
        for token in [token, clone] {
            bertscript_cancel_token_free(token);
        }
        bertscript_task_options_free(options);
        bertscript_module_free(module);
    }
}

#[test]
fn labels_of_texts_and_pairs_are_those_of_rust() {
    let module = traced("text/classify-single");
    let (texts, pairs) = (pointers([c"good", c"the cat"]), pointers([c"bad", c"sat"]));
    unsafe {
        let found = ok(|out, err| {
            let (texts, pairs) = (texts.as_ptr(), pairs.as_ptr());
            bertscript_module_classify(module, texts, null(), pairs, null(), 2, null(), out, err)
        });
        let wanted = in_rust("text/classify-single");
        let wanted = wanted
            .classify([("good", "bad"), ("the cat", "sat")], &ClassifyOptions::default())
            .unwrap();
        assert_eq!(
            text(bertscript_classifications_json(found)),
            serde_json::to_string(&wanted).unwrap()
        );
        assert_eq!(bertscript_classifications_count(found), 2);
        for (number, wanted) in wanted.iter().enumerate() {
            assert_eq!(bertscript_classifications_size(found, number), wanted.labels.len());
            assert_eq!(bertscript_classifications_truncated(found, number), 0);
            for (index, wanted) in wanted.labels.iter().enumerate() {
                let label = &*bertscript_classifications_get(found, number, index);
                assert_eq!((text(label.label), label.score), (wanted.label.clone(), wanted.score));
            }
        }
        assert!(bertscript_classifications_get(found, 2, 0).is_null());
        assert!(bertscript_classifications_get(found, 0, usize::MAX).is_null());
        assert_eq!(bertscript_classifications_size(found, 2), 0);
        bertscript_classifications_free(found);
        bertscript_module_free(module);
    }
}

#[test]
fn entities_and_fillings_are_those_of_rust() {
    unsafe {
        let module = traced("text/entities");
        let texts = pointers([c"She went to the big city.", c"Łódź 😀"]);
        let options = bertscript_task_options_new();
        bertscript_task_options_set_aggregation_strategy(options, c"none".as_ptr(), null_mut());
        bertscript_task_options_set_ignore_labels(options, null(), 0, null_mut());
        let found = ok(|out, err| {
            bertscript_module_entities(module, texts.as_ptr(), null(), 2, options, out, err)
        });
        bertscript_task_options_free(options);
        let options = EntitiesOptions {
            aggregation_strategy: "none".parse().unwrap(),
            ignore_labels: Vec::new(),
            ..EntitiesOptions::default()
        };
        let wanted = in_rust("text/entities")
            .entities(["She went to the big city.", "Łódź 😀"], &options)
            .unwrap();
        assert_eq!(text(bertscript_entities_json(found)), serde_json::to_string(&wanted).unwrap());
        assert!(!wanted[1].entities.is_empty());
        for (index, wanted) in wanted[1].entities.iter().enumerate() {
            let entity = &*bertscript_entities_get(found, 1, index);
            assert_eq!(text(entity.word), wanted.word);
            assert_eq!(text(entity.entity), wanted.entity);
            assert_eq!((entity.start, entity.end), (wanted.start, wanted.end));
            assert_eq!((entity.char_start, entity.char_end), (wanted.char_start, wanted.char_end));
            assert_eq!((entity.index, entity.score), (wanted.index.unwrap() as i64, wanted.score));
        }
        assert_eq!(bertscript_entities_count(found), 2);
        bertscript_entities_free(found);
        bertscript_module_free(module);

        let module = traced("text/masked");
        let texts = pointers([c"the [MASK] sat on the [MASK]"]);
        let found = ok(|out, err| {
            bertscript_module_fill_mask(module, texts.as_ptr(), null(), 1, null(), out, err)
        });
        let wanted = in_rust("text/masked")
            .fill_mask(["the [MASK] sat on the [MASK]"], &FillMaskOptions::default())
            .unwrap();
        assert_eq!(text(bertscript_fillings_json(found)), serde_json::to_string(&wanted).unwrap());
        assert_eq!(bertscript_fillings_size(found, 0), 10);
        let filling = &*bertscript_fillings_get(found, 0, 7);
        let wanted = &wanted[0].masks[1][2];
        assert_eq!((filling.mask, filling.token), (1, wanted.token));
        assert_eq!(text(filling.token_str), wanted.token_str);
        assert_eq!(text(filling.sequence), wanted.sequence);
        bertscript_fillings_free(found);
        bertscript_module_free(module);
    }
}

#[test]
fn a_question_needs_its_context() {
    unsafe {
        let options = bertscript_build_options_new();
        let class = c"BertForQuestionAnswering".as_ptr();
        bertscript_build_options_set_architecture(options, class, null_mut());
        bertscript_build_options_set_random_init(options, 3, null_mut());
        let directory = fixture("text/sentence");
        let model =
            ok(|out, err| bertscript_model_from_pretrained(directory.as_ptr(), options, out, err));
        bertscript_build_options_free(options);
        let module = ok(|out, err| bertscript_model_trace(model, null(), out, err));
        bertscript_model_free(model);
        let (questions, contexts) = (pointers([c"who?"]), pointers([c"the cat sat"]));
        let (mut out, mut error) = (null_mut(), null_mut());
        let status = bertscript_module_answer(
            module,
            questions.as_ptr(),
            null(),
            null(),
            null(),
            1,
            null(),
            &raw mut out,
            &raw mut error,
        );
        assert_eq!(told(status, error).0, BERTSCRIPT_NULL_POINTER);
        let found = ok(|out, err| {
            let (questions, contexts) = (questions.as_ptr(), contexts.as_ptr());
            bertscript_module_answer(
                module,
                questions,
                null(),
                contexts,
                null(),
                1,
                null(),
                out,
                err,
            )
        });
        assert_eq!((bertscript_answers_count(found), bertscript_answers_size(found, 0)), (1, 1));
        let answer = &*bertscript_answers_get(found, 0, 0);
        assert_eq!(text(answer.answer), "the cat sat"[answer.start..answer.end]);
        assert_eq!((answer.char_start, answer.char_end), (answer.start, answer.end));
        assert!(text(bertscript_answers_json(found)).contains("\"answer\""));
        bertscript_answers_free(found);
        bertscript_module_free(module);
    }
}

#[test]
fn a_tokenizer_encodes_and_decodes_as_in_rust() {
    let directory = fixture("text/masked");
    let wanted = bertscript::Tokenizer::open(directory.to_str().unwrap()).unwrap();
    let text_in = "the cat sat 日本";
    let wanted = &wanted.encode(text_in, &bertscript::EncodeOptions::default()).unwrap()[0];
    let texts = pointers([c"the cat sat 日本", c"cat"]);
    unsafe {
        let tokenizer = ok(|out, err| bertscript_tokenizer_load(directory.as_ptr(), out, err));
        let encode = |options| {
            ok(|out, err| {
                let texts = texts.as_ptr();
                bertscript_tokenizer_encode(
                    tokenizer,
                    texts,
                    null(),
                    null(),
                    null(),
                    2,
                    options,
                    out,
                    err,
                )
            })
        };
        let found = encode(null());
        assert_eq!(bertscript_encoding_rows(found), 2);
        let length = bertscript_encoding_length(found, 0);
        let list = |place: *const i64| std::slice::from_raw_parts(place, length).to_vec();
        assert_eq!(list(bertscript_encoding_input_ids(found, 0)), wanted.input_ids);
        assert_eq!(list(bertscript_encoding_token_type_ids(found, 0)), wanted.token_type_ids);
        assert_eq!(list(bertscript_encoding_attention_mask(found, 0)), wanted.attention_mask);
        assert_eq!(
            list(bertscript_encoding_special_tokens_mask(found, 0)),
            wanted.special_tokens_mask
        );
        let words = wanted.word_ids.iter().map(|id| id.map_or(-1, i64::from));
        assert_eq!(list(bertscript_encoding_word_ids(found, 0)), words.collect::<Vec<_>>());
        let sequences = wanted.sequence_ids.iter().map(|id| id.map_or(-1, |id| id as i64));
        assert_eq!(list(bertscript_encoding_sequence_ids(found, 0)), sequences.collect::<Vec<_>>());
        for (place, wanted) in [
            (bertscript_encoding_offsets(found, 0), &wanted.offsets),
            (bertscript_encoding_char_offsets(found, 0), &wanted.char_offsets),
        ] {
            let pairs = std::slice::from_raw_parts(place, 2 * length).chunks(2);
            assert_eq!(&pairs.map(|pair| (pair[0], pair[1])).collect::<Vec<_>>(), wanted);
        }
        let tokens = (0..length).map(|i| text(bertscript_encoding_token(found, 0, i)));
        assert_eq!(tokens.collect::<Vec<_>>(), wanted.tokens);
        assert!(bertscript_encoding_token(found, 0, length).is_null());
        assert!(bertscript_encoding_input_ids(found, 2).is_null());
        assert_eq!(bertscript_encoding_sample(found, 1), 1);
        assert_eq!(bertscript_encoding_sample(found, 2), usize::MAX);
        assert_eq!(bertscript_encoding_truncated(found, 0), 0);

        let tensors = |encoding| {
            let (mut ids, mut error) = (null_mut(), null_mut());
            let none = null_mut();
            let status =
                bertscript_encoding_tensors(encoding, &raw mut ids, none, none, &raw mut error);
            (status, ids, error)
        };
        let (status, _, error) = tensors(found);
        assert!(told(status, error).1.contains("expected padding"));
        bertscript_encoding_free(found);

        let options = bertscript_encode_options_new();
        let longest = c"longest".as_ptr();
        bertscript_encode_options_set_padding(options, longest, null_mut());
        let padded = encode(options);
        let (status, ids, _) = tensors(padded);
        assert_eq!((status, bertscript_tensor_numel(ids)), (BERTSCRIPT_OK, 2 * length as i64));
        bertscript_tensor_free(ids);
        bertscript_encoding_free(padded);
        let mut error = null_mut();
        let wrong = c"widest".as_ptr();
        let status = bertscript_encode_options_set_padding(options, wrong, &raw mut error);
        assert_eq!(told(status, error).0, BERTSCRIPT_INVALID_ARGUMENT);
        bertscript_encode_options_free(options);

        let (mut room, mut needed) = ([0_u8; 64], 0);
        let ids = &wanted.input_ids;
        let mut decode = |capacity, error| {
            let (ids, room) = ((ids.as_ptr(), ids.len()), room.as_mut_ptr().cast());
            bertscript_tokenizer_decode(
                tokenizer,
                ids.0,
                ids.1,
                1,
                room,
                capacity,
                &raw mut needed,
                error,
            )
        };
        let mut error = null_mut();
        let status = decode(3, &raw mut error);
        assert_eq!(told(status, error).0, BERTSCRIPT_BUFFER_TOO_SMALL);
        assert_eq!(decode(64, null_mut()), BERTSCRIPT_OK);
        let decoded = CStr::from_bytes_until_nul(&room).unwrap().to_str().unwrap();
        assert_eq!(decoded.len(), needed);
        assert!(decoded.starts_with("the cat sat"), "{decoded}");

        let mask = bertscript_tokenizer_token_to_id(tokenizer, c"[MASK]".as_ptr());
        assert!(mask >= 0 && (mask as usize) < bertscript_tokenizer_vocab_size(tokenizer));
        assert_eq!(bertscript_tokenizer_token_to_id(tokenizer, c"no such".as_ptr()), -1);
        let place = room.as_mut_ptr().cast();
        let status =
            bertscript_tokenizer_id_to_token(tokenizer, mask, place, 64, null_mut(), null_mut());
        assert_eq!((status, text(place)), (BERTSCRIPT_OK, "[MASK]".to_owned()));
        assert_eq!(bertscript_tokenizer_max_length(tokenizer), 32);
        let clone = bertscript_tokenizer_clone(tokenizer);
        bertscript_tokenizer_free(tokenizer);
        bertscript_tokenizer_free(clone);
    }
}
