//! Mistakes of a caller: each is an invalid argument, told where it is made.

use crate::{told, traced};
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

/// The status and the message of a call that must fail and write no output.
fn refused<T>(
    call: impl FnOnce(*mut *mut T, *mut *mut bertscript_error) -> bertscript_status,
) -> (bertscript_status, String) {
    let (mut out, mut error) = (null_mut(), null_mut());
    let status = call(&raw mut out, &raw mut error);
    assert!(out.is_null(), "an output was written");
    told(status, error)
}

fn invalid(message: &str) -> (bertscript_status, String) {
    (BERTSCRIPT_INVALID_ARGUMENT, message.to_owned())
}

/// A tensor over `data`.
fn tensor<T>(dtype: bertscript_dtype, shape: &[i64], data: &[T]) -> *mut bertscript_tensor {
    let (mut tensor, size) = (null_mut(), size_of_val(data));
    let (shape, ndim, data) = (shape.as_ptr(), shape.len(), data.as_ptr().cast());
    let status = unsafe {
        bertscript_tensor_copy_from(dtype, shape, ndim, data, size, &raw mut tensor, null_mut())
    };
    assert_eq!(status, BERTSCRIPT_OK);
    tensor
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
    let message = "plan packed-int8: found float16 on cpu, expected float32 or bfloat16 on cpu";
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

/// What comes of a checkpoint whose weight file was changed: its bytes, and where the first
/// word embedding stands.
fn of_changed_weights(
    change: impl FnOnce(&mut Vec<u8>, usize),
    dtype: Option<&CStr>,
) -> (bertscript_status, String) {
    let folder = tempfile::tempdir().unwrap();
    let directory = crate::fixture("text/sentence");
    for entry in std::fs::read_dir(directory.to_str().unwrap()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
    }
    let weights = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..data]).unwrap();
    let offset = &header["embeddings.word_embeddings.weight"]["data_offsets"][0];
    change(&mut bytes, data + offset.as_u64().unwrap() as usize);
    std::fs::write(&weights, bytes).unwrap();
    let path = CString::new(folder.path().to_str().unwrap()).unwrap();
    let options = bertscript_build_options_new();
    if let Some(dtype) = dtype {
        let set =
            unsafe { bertscript_build_options_set_dtype(options, dtype.as_ptr(), null_mut()) };
        assert_eq!(set, BERTSCRIPT_OK);
    }
    let found = refused(|out, err| unsafe {
        bertscript_model_from_pretrained(path.as_ptr(), options, out, err)
    });
    unsafe { bertscript_build_options_free(options) };
    found
}

#[test]
fn words_of_messages_are_torchs() {
    let (status, message) = of_changed_weights(
        |bytes, _| {
            let at = bytes.windows(5).position(|word| word == b"\"F32\"").unwrap();
            bytes[at..at + 5].copy_from_slice(b"\"I32\"");
        },
        None,
    );
    assert_eq!(status, BERTSCRIPT_CORRUPT, "{message}");
    assert!(message.contains("expected a floating-point tensor, found int32 in "), "{message}");
}

#[test]
fn weights_that_are_not_finite_are_told_as_such() {
    let set = |value: f32| {
        move |bytes: &mut Vec<u8>, at: usize| {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes())
        }
    };
    let parameter = "embeddings.word_embeddings.weight: found ";
    for (value, dtype, status, expected) in [
        (f32::NAN, None, BERTSCRIPT_CORRUPT, "NaN in "),
        (f32::NAN, Some(c"float16"), BERTSCRIPT_CORRUPT, "NaN in "),
        (f32::NEG_INFINITY, None, BERTSCRIPT_CORRUPT, "an infinite value in "),
        (-1e5, Some(c"float16"), BERTSCRIPT_UNSUPPORTED, "-1e5 in "),
    ] {
        let (found, message) = of_changed_weights(set(value), dtype);
        assert_eq!(found, status, "{message}");
        assert!(message.contains(&format!("{parameter}{expected}")), "{message}");
    }
    let (_, message) = of_changed_weights(set(70_000.), Some(c"float16"));
    assert!(message.ends_with("which is more than float16 holds"), "{message}");
}

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
            assert_eq!(room[..written], crate::values(tensor));
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

#[test]
fn half_types_are_readable_as_float32() {
    let half = tensor(BERTSCRIPT_FLOAT16, &[3], &[0x3c00_u16, 0xc000, 0x7c00]);
    let brain = tensor(BERTSCRIPT_BFLOAT16, &[3], &[0x3f80_u16, 0xc000, 0x7f80]);
    let whole = tensor(BERTSCRIPT_FLOAT32, &[3], &[1f32, -2., f32::INFINITY]);
    for found in [half, brain, whole] {
        let mut wide = null_mut();
        unsafe {
            assert_eq!(
                bertscript_tensor_to_float32(found, &raw mut wide, null_mut()),
                BERTSCRIPT_OK
            );
            assert_eq!(crate::values(wide), [1., -2., f32::INFINITY]);
            let places = [wide, found].map(|tensor| {
                let mut place = null();
                bertscript_tensor_data(tensor, &raw mut place, null_mut(), null_mut());
                place
            });
            assert_eq!(places[0] == places[1], found == whole, "copied only if converted");
            bertscript_tensor_free(wide);
            bertscript_tensor_free(found);
        }
    }
}
