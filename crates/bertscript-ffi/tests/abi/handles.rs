//! Handles of tensors and modules: a status, an error, and the next call works.

use crate::{exported, load, told};
use bertscript_ffi::*;
use std::ffi::{CStr, c_void};
use std::ptr::{null, null_mut};

#[test]
fn null_is_refused_by_name_and_frees_nothing() {
    unsafe {
        let mut error = null_mut();
        let mut module = null_mut();
        let status = bertscript_module_load(null(), null(), &raw mut module, &raw mut error);
        assert_eq!(told(status, error), (BERTSCRIPT_NULL_POINTER, "path: found NULL".to_owned()));
        assert!(module.is_null());
        error = null_mut();
        let status = bertscript_module_load(c"x".as_ptr(), null(), null_mut(), &raw mut error);
        assert_eq!(told(status, error), (BERTSCRIPT_NULL_POINTER, "out: found NULL".to_owned()));
        error = null_mut();
        let status = bertscript_module_run_ids(
            null(),
            null(),
            null(),
            null(),
            1,
            1,
            null(),
            null_mut(),
            0,
            null_mut(),
            &raw mut error,
        );
        assert_eq!(told(status, error), (BERTSCRIPT_NULL_POINTER, "module: found NULL".to_owned()));
        // Nobody has to want the error.
        let status =
            bertscript_module_load(c"nowhere".as_ptr(), null(), &raw mut module, null_mut());
        assert_eq!(status, BERTSCRIPT_NOT_FOUND);

        bertscript_error_free(null_mut());
        bertscript_module_free(null_mut());
        bertscript_tensor_free(null_mut());
        bertscript_cancel_token_free(null_mut());
        bertscript_cancel_token_cancel(null());
        assert!(bertscript_module_clone(null()).is_null());
        assert!(bertscript_tensor_clone(null()).is_null());
        assert!(bertscript_module_metadata_json(null()).is_null());
        assert!(bertscript_tensor_shape(null(), null_mut()).is_null());
        assert_eq!(bertscript_error_status(null()), BERTSCRIPT_OK);
    }
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    unsafe {
        let (mut error, mut module) = (null_mut(), null_mut());
        let path = c"a\xff".as_ptr();
        let status = bertscript_module_load(path, null(), &raw mut module, &raw mut error);
        let message = "path: not UTF-8 at byte 1".to_owned();
        assert_eq!(told(status, error), (BERTSCRIPT_INVALID_UTF8, message));
        error = null_mut();
        let device = c"gpu".as_ptr();
        let status = bertscript_module_load(c"x".as_ptr(), device, &raw mut module, &raw mut error);
        assert_eq!(told(status, error).0, BERTSCRIPT_INVALID_ARGUMENT);
    }
}

#[test]
fn a_tensor_holds_what_it_was_given() {
    let values = [1f32, 2., 3., 4., 5., 6.];
    let bytes = size_of_val(&values);
    let shape = [2_i64, 3];
    let make = |dtype, shape: &[i64], nbytes| unsafe {
        let (mut tensor, mut error) = (null_mut(), null_mut());
        let data = values.as_ptr().cast();
        let status = bertscript_tensor_copy_from(
            dtype,
            shape.as_ptr(),
            shape.len(),
            data,
            nbytes,
            &raw mut tensor,
            &raw mut error,
        );
        (status, tensor, error)
    };
    let (status, tensor, error) = make(BERTSCRIPT_FLOAT32, &shape, bytes);
    assert_eq!(status, BERTSCRIPT_OK);
    assert!(error.is_null());
    unsafe {
        let clone = bertscript_tensor_clone(tensor);
        bertscript_tensor_free(tensor);
        assert_eq!(bertscript_tensor_dtype(clone), BERTSCRIPT_FLOAT32);
        let mut ndim = 0;
        let found = bertscript_tensor_shape(clone, &raw mut ndim);
        assert_eq!(std::slice::from_raw_parts(found, ndim), shape);
        let (mut data, mut nbytes): (*const c_void, usize) = (null(), 0);
        let status = bertscript_tensor_data(clone, &raw mut data, &raw mut nbytes, null_mut());
        assert_eq!((status, nbytes), (BERTSCRIPT_OK, bytes));
        assert_eq!(std::slice::from_raw_parts(data.cast::<f32>(), 6), values);

        let mut copy = [0f32; 6];
        let mut written = 0;
        let place = copy.as_mut_ptr().cast();
        let mut error = null_mut();
        let status =
            bertscript_tensor_copy_to(clone, place, bytes - 1, &raw mut written, &raw mut error);
        let message = "capacity: found 23, expected at least 24".to_owned();
        assert_eq!(told(status, error), (BERTSCRIPT_BUFFER_TOO_SMALL, message));
        assert_eq!((written, copy), (bytes, [0.; 6]));
        let status = bertscript_tensor_copy_to(clone, place, bytes, null_mut(), null_mut());
        assert_eq!((status, copy), (BERTSCRIPT_OK, values));
        bertscript_tensor_free(clone);
    }
    for (dtype, shape, nbytes) in [
        (0, &shape[..], bytes),
        (11, &shape[..], bytes),
        (i32::MIN, &shape[..], bytes),
        (BERTSCRIPT_FLOAT32, &shape[..], bytes - 4),
        (BERTSCRIPT_FLOAT32, &[-2, -3][..], bytes),
        (BERTSCRIPT_FLOAT32, &[i64::MAX, i64::MAX][..], bytes),
    ] {
        let (status, tensor, error) = make(dtype, shape, nbytes);
        assert_eq!(told(status, error).0, BERTSCRIPT_INVALID_ARGUMENT);
        assert!(tensor.is_null());
    }
}

#[test]
fn a_module_runs_and_refuses_and_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let module = load(&exported("model", folder.path()));
    unsafe {
        let json = CStr::from_ptr(bertscript_module_metadata_json(module)).to_str().unwrap();
        assert!(json.contains("\"BertModel\""));
        assert_eq!(CStr::from_ptr(bertscript_module_input_name(module, 0)), c"input_ids");
        assert_eq!(CStr::from_ptr(bertscript_module_output_name(module, 1)), c"pooler_output");
        assert!(bertscript_module_output_name(module, 2).is_null());

        let run = |ids: &[i64], capacity| {
            let (mut outputs, mut count, mut error) = ([null_mut(); 2], 0, null_mut());
            let status = bertscript_module_run_ids(
                module,
                ids.as_ptr(),
                null(),
                null(),
                1,
                ids.len(),
                null(),
                outputs.as_mut_ptr(),
                capacity,
                &raw mut count,
                &raw mut error,
            );
            (status, outputs, count, error)
        };
        let (status, outputs, count, error) = run(&[2, 999, 3], 2);
        let message = "input_ids: found 999 at [0, 1], expected 0 to 127".to_owned();
        assert_eq!(told(status, error), (BERTSCRIPT_INVALID_ARGUMENT, message));
        assert!(count == 0 && outputs[0].is_null());
        let (status, outputs, count, error) = run(&[2, 9, 3], 1);
        assert_eq!(told(status, error).0, BERTSCRIPT_BUFFER_TOO_SMALL);
        assert!(count == 2 && outputs[0].is_null());
        let (status, outputs, count, _) = run(&[2, 9, 3], 2);
        assert_eq!((status, count), (BERTSCRIPT_OK, 2));

        // The same by name, from a tensor.
        let (mut ids, mut again) = (null_mut(), [null_mut(); 2]);
        let values = [2_i64, 9, 3];
        bertscript_tensor_copy_from(
            BERTSCRIPT_INT64,
            [1, 3].as_ptr(),
            2,
            values.as_ptr().cast(),
            24,
            &raw mut ids,
            null_mut(),
        );
        let mut count = 0;
        let (names, inputs) = ([c"input_ids".as_ptr()], [ids.cast_const()]);
        let status = bertscript_module_run(
            module,
            names.as_ptr(),
            inputs.as_ptr(),
            1,
            null(),
            again.as_mut_ptr(),
            2,
            &raw mut count,
            null_mut(),
        );
        assert_eq!((status, count), (BERTSCRIPT_OK, 2));
        let values = |tensor| {
            let mut copy = vec![0f32; 32];
            let place = copy.as_mut_ptr().cast();
            assert_eq!(bertscript_tensor_copy_to(tensor, place, 128, null_mut(), null_mut()), 0);
            copy
        };
        assert_eq!(values(outputs[1]), values(again[1]));
        for tensor in outputs.into_iter().chain(again).chain([ids]) {
            bertscript_tensor_free(tensor);
        }

        let mut error = null_mut();
        let mut tensor = null_mut();
        let texts = [c"a".as_ptr()];
        let status = bertscript_module_embed(
            module,
            texts.as_ptr(),
            null(),
            1,
            null(),
            &raw mut tensor,
            null_mut(),
            &raw mut error,
        );
        assert_eq!(told(status, error).0, BERTSCRIPT_UNSUPPORTED);
        bertscript_module_free(module);
    }
}

#[test]
fn every_status_has_a_name() {
    unsafe {
        assert_eq!(CStr::from_ptr(bertscript_status_name(BERTSCRIPT_OK)), c"OK");
        assert_eq!(CStr::from_ptr(bertscript_status_name(BERTSCRIPT_PANIC)), c"PANIC");
        assert_eq!(CStr::from_ptr(bertscript_status_name(-1)), c"UNKNOWN");
        let version = CStr::from_ptr(bertscript_version()).to_str().unwrap();
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
        assert_eq!(bertscript_abi_version(), BERTSCRIPT_ABI_VERSION);
    }
}
