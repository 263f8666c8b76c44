//! Embeddings in memory of the caller's.

use crate::{invalid, told, traced, values};
use bertscript_ffi::*;
use std::ptr::{null, null_mut};

#[test]
fn embeddings_come_to_memory_of_the_callers() {
    let module = traced("text/sentence");
    let texts = [c"the cat".as_ptr(), c"a dog".as_ptr()];
    let mut dimension = 0;
    unsafe {
        let options = bertscript_task_options_new();
        let set = bertscript_task_options_set_truncate_dim(options, 7, null_mut());
        assert_eq!(set, BERTSCRIPT_OK);
        for (options, expected) in [(null(), 16), (options.cast_const(), 7)] {
            let status =
                bertscript_module_embedding_dim(module, options, &raw mut dimension, null_mut());
            assert_eq!((status, dimension), (BERTSCRIPT_OK, expected));
            let mut tensor = null_mut();
            let status = bertscript_module_embed(
                module,
                texts.as_ptr(),
                null(),
                2,
                options,
                &raw mut tensor,
                null_mut(),
                null_mut(),
            );
            assert_eq!(status, BERTSCRIPT_OK);
            let (mut room, mut written, mut cut) = (vec![7f32; 2 * expected + 1], 0, [9; 2]);
            let mut embed = |capacity, cut: &mut [i32; 2], err| {
                bertscript_module_embed_into(
                    module,
                    texts.as_ptr(),
                    null(),
                    2,
                    options,
                    room.as_mut_ptr(),
                    capacity,
                    &raw mut written,
                    cut.as_mut_ptr(),
                    err,
                )
            };
            let mut error = null_mut();
            let status = embed(2 * expected - 1, &mut cut, &raw mut error);
            let (found, needed) = (2 * expected - 1, 2 * expected);
            let message = format!("capacity: found {found}, expected at least {needed}");
            assert_eq!(told(status, error), (BERTSCRIPT_BUFFER_TOO_SMALL, message));
            assert_eq!(cut, [9; 2], "an output of a failed call");
            assert_eq!(embed(2 * expected + 1, &mut cut, null_mut()), BERTSCRIPT_OK);
            assert_eq!((written, cut), (2 * expected, [0; 2]));
            // The same bits, and nothing beyond.
            assert_eq!(room[..written], values(tensor));
            assert_eq!(room[written], 7.);
            bertscript_tensor_free(tensor);
        }
        let none = bertscript_module_embed_into(
            module,
            null(),
            null(),
            0,
            null(),
            null_mut(),
            0,
            null_mut(),
            null_mut(),
            null_mut(),
        );
        assert_eq!(none, BERTSCRIPT_OK);
        let too_wide = bertscript_task_options_new();
        bertscript_task_options_set_truncate_dim(too_wide, 17, null_mut());
        let mut error = null_mut();
        dimension = 5;
        let status =
            bertscript_module_embedding_dim(module, too_wide, &raw mut dimension, &raw mut error);
        assert_eq!(told(status, error), invalid("truncate_dim: found 17, expected 1 to 16"));
        assert_eq!(dimension, 5);
        for options in [options, too_wide] {
            bertscript_task_options_free(options);
        }
        bertscript_module_free(module);
    }
}
