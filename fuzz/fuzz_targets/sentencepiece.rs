#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bertscript_tests::fuzzing::sentencepiece(data));
