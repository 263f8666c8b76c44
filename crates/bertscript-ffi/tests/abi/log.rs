//! What libtorch would write to standard error.

use crate::{load, model, text, told};
use bertscript_ffi::*;
use std::ffi::{CString, c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use torchscript::ScriptModule;

/// What a callback was told, and what came of a call from inside it.
#[derive(Default)]
struct Heard {
    messages: Vec<(i32, String)>,
    inside: Vec<(bertscript_status, String)>,
}

struct Listener {
    heard: Mutex<Heard>,
    model: *mut bertscript_model,
}

unsafe extern "C" fn listen(user: *mut c_void, level: i32, message: *const c_char) {
    let listener = unsafe { &*user.cast::<Listener>() };
    let (mut module, mut error) = (null_mut(), null_mut());
    let status =
        unsafe { bertscript_model_trace(listener.model, null(), &raw mut module, &raw mut error) };
    let mut heard = listener.heard.lock().unwrap();
    heard.messages.push((level, text(message)));
    heard.inside.push(told(status, error));
}

#[test]
fn warnings_of_libtorch_go_to_the_callback_which_cannot_deadlock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("warns.pt");
    let mut script = ScriptModule::new("Warns").unwrap();
    // The program warns, and then an operator of libtorch: of one value there is no deviation.
    let source = "def forward(self, x: Tensor):\n    torch.warn('careful')\n    return x.std()";
    script.define(source).unwrap();
    script.save(&mut std::fs::File::create(&path).unwrap(), &[]).unwrap();
    let module = load(&CString::new(path.to_str().unwrap()).unwrap());

    let listener = Listener { heard: Mutex::default(), model: model("model") };
    let user = std::ptr::from_ref(&listener).cast_mut().cast();
    let set = |callback, level| {
        let mut error = null_mut();
        let status = unsafe { bertscript_set_log_callback(callback, user, level, &raw mut error) };
        (status, error)
    };
    let (status, error) = set(Some(listen), 3);
    let message = "level: found 3, expected 1 or 2".to_owned();
    assert_eq!(told(status, error), (BERTSCRIPT_INVALID_ARGUMENT, message));

    let run = || unsafe {
        let (mut x, mut out, mut count) = (null_mut(), null_mut(), 0);
        let (shape, one) = ([1_i64], 1f32);
        let data = std::ptr::from_ref(&one).cast();
        let dtype = BERTSCRIPT_FLOAT32;
        bertscript_tensor_copy_from(dtype, shape.as_ptr(), 1, data, 4, &raw mut x, null_mut());
        let status = bertscript_module_run(
            module,
            [c"x".as_ptr()].as_ptr(),
            [x.cast_const()].as_ptr(),
            1,
            null(),
            &raw mut out,
            1,
            &raw mut count,
            null_mut(),
        );
        assert_eq!((status, count), (BERTSCRIPT_OK, 1));
        bertscript_tensor_free(x);
        bertscript_tensor_free(out);
    };
    // Only errors are wanted: nothing is heard. Then warnings too.
    assert_eq!(set(Some(listen), BERTSCRIPT_LOG_ERROR).0, BERTSCRIPT_OK);
    run();
    assert!(listener.heard.lock().unwrap().messages.is_empty());
    assert_eq!(set(Some(listen), BERTSCRIPT_LOG_WARNING).0, BERTSCRIPT_OK);
    run();
    assert_eq!(set(None, BERTSCRIPT_LOG_WARNING).0, BERTSCRIPT_OK);
    run();
    let heard = listener.heard.lock().unwrap();
    assert_eq!(heard.messages.len(), 2);
    assert_eq!(heard.messages[0], (BERTSCRIPT_LOG_WARNING, "careful".to_owned()));
    let (level, message) = &heard.messages[1];
    assert_eq!(*level, BERTSCRIPT_LOG_WARNING);
    assert!(message.starts_with("std(): degrees of freedom is <= 0"), "{message}");
    assert!(heard.inside.iter().all(|(status, _)| *status == BERTSCRIPT_BUSY));
    unsafe {
        bertscript_model_free(listener.model);
        bertscript_module_free(module);
    }
}
