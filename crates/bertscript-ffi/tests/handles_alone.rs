//! Handles that need no libtorch, for Miri: `cargo xtask miri` runs this file, and
//! finds reads of freed memory, broken aliasing, races and leaks. Threads start
//! together: one that ends before another starts races with nobody.

#![expect(clippy::undocumented_unsafe_blocks, reason = "each call is as the header says")]

use bertscript_ffi::*;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::Barrier;

/// The status and the message of an error, which is freed.
fn told(status: bertscript_status, error: *mut bertscript_error) -> (bertscript_status, String) {
    unsafe {
        assert_eq!(bertscript_error_status(error), status);
        let text = |text: *const c_char| CStr::from_ptr(text).to_str().unwrap().to_owned();
        let message = text(bertscript_error_message(error));
        text(bertscript_error_detail(error));
        bertscript_error_free(error);
        (status, message)
    }
}

fn tokenizer() -> *mut bertscript_tokenizer {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/text/masked");
    let directory = CString::new(fixture.to_str().unwrap()).unwrap();
    let mut tokenizer = null_mut();
    let status =
        unsafe { bertscript_tokenizer_load(directory.as_ptr(), &raw mut tokenizer, null_mut()) };
    assert_eq!(status, BERTSCRIPT_OK);
    tokenizer
}

#[test]
fn an_error_is_told_and_freed() {
    unsafe {
        let options = bertscript_encode_options_new();
        let mut error = null_mut();
        let word = c"sideways".as_ptr();
        let status = bertscript_encode_options_set_truncation(options, word, &raw mut error);
        let (status, message) = told(status, error);
        assert_eq!(status, BERTSCRIPT_INVALID_ARGUMENT);
        assert!(message.contains("sideways"), "{message}");
        error = null_mut();
        let status =
            bertscript_encode_options_set_padding(options, c"\xff".as_ptr(), &raw mut error);
        assert_eq!(told(status, error).0, BERTSCRIPT_INVALID_UTF8);
        error = null_mut();
        let status = bertscript_encode_options_set_padding(null_mut(), null(), &raw mut error);
        assert_eq!(
            told(status, error),
            (BERTSCRIPT_NULL_POINTER, "options: found NULL".to_owned())
        );
        assert_eq!(
            bertscript_encode_options_set_stride(options, 3, null_mut()),
            BERTSCRIPT_OK,
            "the next call works"
        );
        bertscript_encode_options_free(options);
        bertscript_error_free(null_mut());
    }
}

#[test]
fn options_keep_what_they_were_given() {
    unsafe {
        let options = bertscript_task_options_new();
        let mut prompt = *b"query: \0";
        let modes = [c"mean".as_ptr(), c"max".as_ptr()];
        for status in [
            bertscript_task_options_set_prompt(options, prompt.as_ptr().cast(), null_mut()),
            bertscript_task_options_set_pooling(options, modes.as_ptr(), 2, null_mut()),
            bertscript_task_options_set_top_k(options, 7, null_mut()),
            bertscript_task_options_set_cancel_token(options, null(), null_mut()),
        ] {
            assert_eq!(status, BERTSCRIPT_OK);
        }
        // The options have a copy of their own.
        prompt.fill(b'x');
        bertscript_task_options_free(options);

        let (build, trace) = (bertscript_build_options_new(), bertscript_trace_options_new());
        assert_eq!(
            bertscript_build_options_set_architecture(build, c"BertModel".as_ptr(), null_mut()),
            BERTSCRIPT_OK
        );
        bertscript_build_options_free(build);
        bertscript_trace_options_free(trace);
    }
}

#[test]
fn a_cancelled_token_is_seen_by_every_thread_and_outlived_by_options() {
    struct Token(*mut bertscript_cancel_token);
    unsafe impl Sync for Token {}
    unsafe {
        let token = Token(bertscript_cancel_token_new());
        let run = bertscript_run_options_new();
        let status = bertscript_run_options_set_cancel_token(run, token.0, null_mut());
        assert_eq!(status, BERTSCRIPT_OK);
        let start = Barrier::new(3);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let token = &token;
                    start.wait();
                    bertscript_cancel_token_cancel(token.0);
                    assert_eq!(bertscript_cancel_token_is_cancelled(token.0), 1);
                });
            }
        });
        bertscript_cancel_token_free(token.0);
        bertscript_run_options_free(run);
    }
}

#[test]
fn encodings_outlive_their_tokenizer() {
    unsafe {
        let tokenizer = tokenizer();
        let options = bertscript_encode_options_new();
        bertscript_encode_options_set_details(options, 1, null_mut());
        let text = "the cat sat";
        let (texts, lengths) = ([text.as_ptr().cast::<c_char>()], [text.len()]);
        let (mut encoding, mut error) = (null_mut(), null_mut());
        let status = bertscript_tokenizer_encode(
            tokenizer,
            texts.as_ptr(),
            lengths.as_ptr(),
            null(),
            null(),
            1,
            options,
            &raw mut encoding,
            &raw mut error,
        );
        assert_eq!(status, BERTSCRIPT_OK);
        bertscript_encode_options_free(options);

        assert_eq!(bertscript_encoding_rows(encoding), 1);
        let length = bertscript_encoding_length(encoding, 0);
        assert_eq!(length, 5, "[CLS] the cat sat [SEP]");
        let ids = bertscript_encoding_input_ids(encoding, 0);
        let ids = std::slice::from_raw_parts(ids, length).to_vec();
        let token = |index| CStr::from_ptr(bertscript_encoding_token(encoding, 0, index));
        assert_eq!(token(2), c"cat");
        assert!(bertscript_encoding_token(encoding, 0, 5).is_null());
        assert!(bertscript_encoding_input_ids(encoding, 1).is_null());

        let mut buffer = [0u8; 12];
        let mut written = 0;
        let mut decode = |capacity| {
            bertscript_tokenizer_decode(
                tokenizer,
                ids.as_ptr(),
                ids.len(),
                1,
                buffer.as_mut_ptr().cast(),
                capacity,
                &raw mut written,
                null_mut(),
            )
        };
        assert_eq!(decode(11), BERTSCRIPT_BUFFER_TOO_SMALL);
        assert_eq!(decode(12), BERTSCRIPT_OK);
        assert_eq!((&buffer, written), (b"the cat sat\0", 11));

        bertscript_tokenizer_free(tokenizer);
        assert_eq!(token(1), c"the");
        bertscript_encoding_free(encoding);
    }
}

#[test]
fn a_log_callback_is_replaced_while_others_log() {
    extern "C" fn hear(user: *mut c_void, _: i32, _: *const c_char) {
        assert!(user.is_null());
    }
    let set = |callback| unsafe {
        bertscript_set_log_callback(callback, null_mut(), BERTSCRIPT_LOG_WARNING, null_mut())
    };
    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                start.wait();
                assert_eq!(set(Some(hear)), BERTSCRIPT_OK);
                assert_eq!(set(None), BERTSCRIPT_OK);
            });
        }
    });
}
