//! Mistakes of a caller: each is an invalid argument, told where it is made.

use crate::{invalid, refused, tensor, told, traced};
use bertscript_ffi::*;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{null, null_mut};

/// `DLManagedTensorVersioned` of DLPack 1, as `dlpack.h` lays it out.
#[repr(C)]
struct Managed {
    version: [u32; 2],
    context: *mut c_void,
    deleter: *mut c_void,
    flags: u64,
    data: *mut c_void,
    device: [i32; 2],
    ndim: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

#[test]
fn fields_of_dlpack_that_make_no_sense_are_the_callers() {
    let whole = tensor(BERTSCRIPT_FLOAT32, &[2, 3], &[1f32; 6]);
    let mut negative = [2_i64, -3];
    let negative = negative.as_mut_ptr();
    type Change<'a> = (&'a str, &'a dyn Fn(&mut Managed));
    let changes: [Change; 11] = [
        ("lanes: found 2, expected 1", &|m| m.lanes = 2),
        ("dtype: found float7", &|m| m.bits = 7),
        ("dtype: found complex64", &|m| (m.code, m.bits) = (5, 64)),
        ("dtype: found uint16", &|m| (m.code, m.bits) = (1, 16)),
        ("dtype: found code 77", &|m| m.code = 77),
        ("ndim: found -1, expected 0 to 64", &|m| m.ndim = -1),
        ("shape: found NULL", &|m| m.shape = null_mut()),
        ("shape: found a size of -3", &|m| m.shape = negative),
        ("strides: found -3", &|m| m.strides = negative),
        ("data: found NULL", &|m| m.data = null_mut()),
        ("device: found type 99, expected CPU or CUDA", &|m| m.device[0] = 99),
    ];
    for (expected, change) in changes {
        let mut managed = null_mut();
        unsafe {
            assert_eq!(
                bertscript_tensor_to_dlpack(whole, &raw mut managed, null_mut()),
                BERTSCRIPT_OK
            );
            let fields = managed.cast::<Managed>();
            let original = std::ptr::read(fields);
            change(&mut *fields);
            let (status, message) =
                refused(|out, err| bertscript_tensor_from_dlpack(managed, out, err));
            assert_eq!(status, BERTSCRIPT_INVALID_ARGUMENT, "{expected}: {message}");
            assert!(message.starts_with("managed: ") && message.contains(expected), "{message}");
            // It is still the caller's.
            std::ptr::write(fields, original);
            let mut back = null_mut();
            assert_eq!(
                bertscript_tensor_from_dlpack(managed, &raw mut back, null_mut()),
                BERTSCRIPT_OK
            );
            bertscript_tensor_free(back);
        }
    }
    unsafe { bertscript_tensor_free(whole) };
}

#[test]
fn a_bool_is_0_or_1() {
    let (bytes, shape) = ([0_u8, 1, 2, 1], [4_i64]);
    let (data, shape) = (bytes.as_ptr().cast_mut().cast::<c_void>(), shape.as_ptr());
    let message = "data: found a bool that is neither 0 nor 1";
    let copied = refused(|out, err| unsafe {
        bertscript_tensor_copy_from(BERTSCRIPT_BOOL, shape, 1, data, 4, out, err)
    });
    assert_eq!(copied, invalid(message));
    let borrowed = refused(|out, err| unsafe {
        let (strides, device, user) = (null(), null(), null_mut());
        bertscript_tensor_borrow(
            BERTSCRIPT_BOOL,
            shape,
            strides,
            1,
            data,
            4,
            device,
            None,
            user,
            out,
            err,
        )
    });
    assert_eq!(borrowed, invalid(message));
    // Bytes of another framework, said to be bool.
    let whole = tensor(BERTSCRIPT_UINT8, &[4], &bytes);
    let mut managed = null_mut();
    unsafe {
        assert_eq!(bertscript_tensor_to_dlpack(whole, &raw mut managed, null_mut()), BERTSCRIPT_OK);
        let fields = managed.cast::<Managed>();
        (*fields).code = 6;
        let found = refused(|out, err| bertscript_tensor_from_dlpack(managed, out, err));
        assert_eq!(found, invalid("managed: data: found a bool that is neither 0 nor 1"));
        (*fields).code = 1;
        let mut back = null_mut();
        assert_eq!(
            bertscript_tensor_from_dlpack(managed, &raw mut back, null_mut()),
            BERTSCRIPT_OK
        );
        bertscript_tensor_free(back);
        bertscript_tensor_free(whole);
    }
}

#[test]
fn strides_are_told_as_numbers() {
    let (data, shape, strides) = ([1f32; 6], [2_i64, 3], [-3_i64, 1]);
    let found = refused(|out, err| unsafe {
        bertscript_tensor_borrow(
            BERTSCRIPT_FLOAT32,
            shape.as_ptr(),
            strides.as_ptr(),
            2,
            data.as_ptr().cast_mut().cast(),
            24,
            null(),
            None,
            null_mut(),
            out,
            err,
        )
    });
    assert_eq!(
        found,
        invalid("strides: found [-3, 1] for the shape [2, 3], expected none below 0")
    );
}

#[test]
fn embeddings_of_two_widths_are_not_compared() {
    let module = traced("text/sentence");
    let row = tensor(BERTSCRIPT_FLOAT32, &[1, 3], &[1f32; 3]);
    let wide = tensor(BERTSCRIPT_FLOAT32, &[1, 4], &[1f32; 4]);
    let flat = tensor(BERTSCRIPT_FLOAT32, &[3], &[1f32; 3]);
    let similarity =
        |a, b| refused(|out, err| unsafe { bertscript_module_similarity(module, a, b, out, err) });
    assert_eq!(similarity(row, wide), invalid("b: found width 4, expected that of a, 3"));
    assert_eq!(similarity(flat, row), invalid("a: found shape [3], expected 2 dimensions, [N, D]"));
    assert_eq!(similarity(row, flat), invalid("b: found shape [3], expected 2 dimensions, [N, D]"));
    unsafe {
        for tensor in [row, wide, flat] {
            bertscript_tensor_free(tensor);
        }
        bertscript_module_free(module);
    }
}

#[test]
fn setters_refuse_what_no_call_could_use() {
    type Set<T> = unsafe extern "C" fn(*mut T, usize, *mut *mut bertscript_error) -> i32;
    let refuses = |status, error, name: &str, most: &str| {
        let message = format!("{name}: found 0, expected {most}");
        assert_eq!(told(status, error), (BERTSCRIPT_INVALID_ARGUMENT, message));
    };
    let options = bertscript_task_options_new();
    let of_tasks: [(&str, Set<_>); 5] = [
        ("top_k", bertscript_task_options_set_top_k),
        ("truncate_dim", bertscript_task_options_set_truncate_dim),
        ("batch_tokens", bertscript_task_options_set_batch_tokens),
        ("max_answer_len", bertscript_task_options_set_max_answer_len),
        ("max_seq_len", bertscript_task_options_set_max_seq_len),
    ];
    for (name, set) in of_tasks {
        let mut error = null_mut();
        let status = unsafe { set(options, 0, &raw mut error) };
        refuses(status, error, name, "at least 1");
        assert_eq!(unsafe { set(options, 1, null_mut()) }, BERTSCRIPT_OK, "{name}");
    }
    unsafe {
        let mut error = null_mut();
        let status = bertscript_task_options_set_targets(options, null(), 0, &raw mut error);
        let message = "targets: found none, expected at least one";
        assert_eq!(told(status, error), invalid(message));
        bertscript_task_options_free(options);
        let options = bertscript_encode_options_new();
        let mut error = null_mut();
        let status = bertscript_encode_options_set_pad_to_multiple_of(options, 0, &raw mut error);
        refuses(status, error, "pad_to_multiple_of", "at least 1");
        bertscript_encode_options_free(options);
    }
}

#[test]
fn a_text_beyond_the_limit_is_refused_by_its_length() {
    let module = traced("text/sentence");
    let embed = |texts: &[*const c_char], lengths: *const usize| {
        refused(|out, err| unsafe {
            let (texts, count) = (texts.as_ptr(), texts.len());
            bertscript_module_embed(module, texts, lengths, count, null(), out, null_mut(), err)
        })
    };
    // So much is not there: to read it would be a crash.
    let (most, texts) = (16 << 20, [c"the cat".as_ptr(), c"a".as_ptr()]);
    let found = embed(&texts, [7, most + 1].as_ptr());
    assert_eq!(found, invalid("texts[1]: found 16777217 bytes, expected at most 16777216"));
    let long = CString::new(vec![b'a'; most + 5]).unwrap();
    let found = embed(&[long.as_ptr()], null());
    assert_eq!(found, invalid("texts[0]: found more than 16777216 bytes, expected at most that"));
    let options = bertscript_task_options_new();
    let mut error = null_mut();
    unsafe {
        let status = bertscript_task_options_set_prompt(options, long.as_ptr(), &raw mut error);
        let message = "prompt: found more than 16777216 bytes, expected at most that";
        assert_eq!(told(status, error), invalid(message));
        bertscript_task_options_free(options);
        bertscript_module_free(module);
    }
}

#[test]
fn a_prompt_is_given_by_itself_or_by_its_name() {
    let module = traced("text/sentence");
    let options = bertscript_task_options_new();
    let texts = [c"the cat".as_ptr()];
    unsafe {
        bertscript_task_options_set_prompt(options, c"query: ".as_ptr(), null_mut());
        bertscript_task_options_set_prompt_name(options, c"query".as_ptr(), null_mut());
        let found = refused(|out, err| {
            let texts = texts.as_ptr();
            bertscript_module_embed(module, texts, null(), 1, options, out, null_mut(), err)
        });
        assert_eq!(found, invalid("prompt: found prompt_name too, expected one of the two"));
        bertscript_task_options_free(options);
        bertscript_module_free(module);
    }
}

#[test]
fn a_plan_is_kept_or_refused_by_name() {
    let module = traced("text/sentence");
    let plan = |module| crate::text(unsafe { bertscript_module_plan(module) });
    let mut int8 = null_mut();
    let int8 = unsafe {
        let name = c"packed-int8".as_ptr();
        assert_eq!(
            bertscript_module_with_plan(module, name, &raw mut int8, null_mut()),
            BERTSCRIPT_OK
        );
        int8
    };
    let to = |dtype: &CStr, out, err| unsafe {
        bertscript_module_to(int8, null(), dtype.as_ptr(), out, err)
    };
    let message = "precision int8: found float16 on cpu, expected float32 or bfloat16 on cpu by the engine native";
    let found = refused(|out, err| to(c"float16", out, err));
    assert_eq!(found, (BERTSCRIPT_UNSUPPORTED, message.to_owned()));
    let mut cast = null_mut();
    assert_eq!(to(c"bfloat16", &raw mut cast, null_mut()), BERTSCRIPT_OK);
    assert_eq!((plan(cast), plan(int8)), ("packed-int8".to_owned(), "packed-int8".to_owned()));
    unsafe {
        for module in [cast, int8, module] {
            bertscript_module_free(module);
        }
    }
}
