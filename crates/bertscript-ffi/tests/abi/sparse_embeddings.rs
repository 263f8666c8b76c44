//! Sparse embeddings: the results are those of the Rust library.

use crate::tasks::{in_rust, ok};
use crate::traced;
use bertscript::EmbedSparseOptions;
use bertscript_ffi::*;
use std::ffi::CString;
use std::ptr::{null, null_mut};

#[test]
fn sparse_embeddings_are_those_of_rust() {
    let module = traced("text/sparse");
    let many = "cat ".repeat(100);
    let options = bertscript_task_options_new();
    unsafe {
        bertscript_task_options_set_max_active_dims(options, 6, null_mut());
        let long = CString::new(many.as_str()).unwrap();
        let texts = [c"the cat".as_ptr(), long.as_ptr()];
        let found = ok(|out, err| {
            bertscript_module_embed_sparse(module, texts.as_ptr(), null(), 2, options, out, err)
        });
        let wanted = EmbedSparseOptions { max_active_dims: Some(6), ..Default::default() };
        let wanted =
            in_rust("text/sparse").embed_sparse(["the cat", many.as_str()], &wanted).unwrap();
        assert_eq!(bertscript_sparse_embeddings_count(found), 2);
        assert_eq!(bertscript_sparse_embeddings_dimension(found), 128);
        for (text, (indices, values)) in wanted.rows().enumerate() {
            let size = bertscript_sparse_embeddings_size(found, text);
            let own = bertscript_sparse_embeddings_indices(found, text);
            assert_eq!(std::slice::from_raw_parts(own, size), indices);
            let own = bertscript_sparse_embeddings_values(found, text);
            assert_eq!(std::slice::from_raw_parts(own, size), values);
            let truncated = bertscript_sparse_embeddings_truncated(found, text);
            assert_eq!(truncated, i32::from(wanted.truncated().contains(&text)));
        }
        assert_eq!(wanted.truncated(), [1]);
        assert_eq!(bertscript_sparse_embeddings_size(found, 2), 0);
        assert!(bertscript_sparse_embeddings_indices(found, 2).is_null());
        assert!(bertscript_sparse_embeddings_values(found, 2).is_null());
        assert_eq!(bertscript_sparse_embeddings_count(null()), 0);
        bertscript_sparse_embeddings_free(found);
        bertscript_task_options_free(options);
        bertscript_module_free(module);
    }
}
