#![no_main]

use bertscript_tests::fuzzing::{c_calls, make_modules};

libfuzzer_sys::fuzz_target!(init: make_modules(), |data: &[u8]| c_calls(data));
