//! The process: its libtorch, its devices, its threads, its messages.

use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::log::{self, bertscript_log_callback, bertscript_log_level};
use crate::pointers::{flag, place, text};
use crate::status::{
    BERTSCRIPT_DEVICE_UNAVAILABLE, BERTSCRIPT_INVALID_ARGUMENT, bertscript_status,
};
use bertscript::{Device, Devices, ErrorKind, MAX_THREADS};
use std::ffi::{CString, c_char, c_void};
use std::sync::OnceLock;

/// Whether what needs libtorch can be had: loads `libbertscript_torch.so` and libtorch, if they
/// are not loaded, and compares their versions with those that the library is for.
///
/// Errors: `BERTSCRIPT_TORCH_UNAVAILABLE` with what is missing, or both versions.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_runtime_check(
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || Ok(bertscript::load_torch()?);
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// How many devices of a kind there are.
///
/// @param kind `cpu`, of which there is one, or `cuda`
/// @param count gets the number; 0 is no error, and
///        `bertscript_device_available` says why
///
/// Errors: `BERTSCRIPT_INVALID_ARGUMENT` for another kind.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_device_count(
    kind: *const c_char,
    count: *mut usize,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (kind, count) = unsafe { (text(kind, "kind")?, place(count, "count")?) };
        *count = match kind {
            "cpu" => 1,
            "cuda" => Devices::count_cuda()?,
            _ => {
                let message = format!("kind: found {kind:?}, expected cpu or cuda");
                return Err(Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message));
            }
        };
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Whether modules can run on a device.
///
/// @param device `cpu`, `cuda` or `cuda:N`
///
/// Errors: `BERTSCRIPT_DEVICE_UNAVAILABLE`; the message names what is missing:
/// the plug-in, the library, the driver, or a device of this number.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_device_available(
    device: *const c_char,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let device = unsafe { text(device, "device")? }.parse::<Device>()?;
        match device.checked() {
            // What is asked is whether it can be had.
            Err(error) if error.kind() == ErrorKind::TorchUnavailable => {
                Err(Failure::new(BERTSCRIPT_DEVICE_UNAVAILABLE, error.to_string()))
            }
            other => Ok(other.map(drop)?),
        }
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// What modules can run on here, as JSON: `cpu`, the instructions that the kernels for
/// it use; `cuda`, an array with `device` (such as `cuda:0`), `name`, `total_memory` (in
/// bytes) and `compute_capability` of each; `cuda_unavailable`, why there is none,
/// or null. If devices cannot be described: `error`.
///
/// Looks once, and loads libtorch's part for CUDA for it, which must come before
/// the process asks libtorch for CUDA in another way.
///
/// Ownership: static.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub extern "C" fn bertscript_devices_json() -> *const c_char {
    static DEVICES: OnceLock<CString> = OnceLock::new();
    let Ok(_entered) = bertscript_process::enter() else {
        // Nothing is waited for that a thread may have held when the process was forked.
        return c"{\"error\":\"the process or the thread is in no state for a call\"}".as_ptr();
    };
    bertscript_plugin::send_log_to(log::of_plugin);
    let describe = || {
        let found = std::panic::catch_unwind(bertscript::Devices::find);
        let described = match found {
            Ok(Ok(devices)) => serde_json::to_value(&devices).map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("a mistake in this library".to_owned()),
        };
        let described = described.unwrap_or_else(|error| serde_json::json!({ "error": error }));
        CString::new(described.to_string()).unwrap_or_default()
    };
    DEVICES.get_or_init(describe).as_ptr()
}

/// Allows products of float32 on CUDA devices to round their inputs to TF32: faster,
/// with about three digits. It holds for the whole process, the caller's own use of
/// libtorch included; libtorch forbids it by itself, and no other function
/// changes it.
///
/// @param allowed 1, or 0 to forbid it
///
/// Errors: `BERTSCRIPT_INVALID_ARGUMENT` for another number; `BERTSCRIPT_TORCH_UNAVAILABLE`
/// if it is 1.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_set_allow_tf32(
    allowed: i32,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        let allowed = flag(allowed, "allowed")?;
        bertscript::allow_tf32(allowed)?;
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Sets how many threads a call may use on the CPU, the caller's included, and how many one
/// operation of libtorch. It holds for the whole process: for calls that begin after it, and
/// in libtorch, the caller's own use of it included, for this thread and those that begin
/// after it; where the plug-in for libtorch is not loaded yet, as soon as it is, for the thread
/// that loads it. No other function changes it.
///
/// @param count 1 to 4096
///
/// Errors: `BERTSCRIPT_INVALID_ARGUMENT` for another number.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_set_num_threads(
    count: i32,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        let threads = usize::try_from(count).ok().filter(|count| (1..=MAX_THREADS).contains(count));
        let Some(threads) = threads else {
            let message = format!("count: found {count}, expected 1 to {MAX_THREADS}");
            return Err(Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message));
        };
        bertscript::set_thread_count(threads);
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Ends the threads that the library keeps between calls and that can be ended: those that
/// help with the work of calls, and those of the calling thread's OpenMP pool, with which
/// libtorch computes. The next call starts others. Threads that other calls use end with
/// these.
///
/// Called directly before `fork()`, with no other thread started in between, it lets libtorch
/// compute on as many threads in the child as in its parent. The native engine does so
/// whether it was called or not.
///
/// Errors: `BERTSCRIPT_PROCESS_STATE` inside of a parallel region of OpenMP.
/// Thread safety: any thread; the pools of other threads end with those.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_shutdown_threads(
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || Ok(bertscript::shutdown_threads()?);
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// How many threads a call may use on the CPU, the caller's included: what was set, or else
/// `OMP_NUM_THREADS`, or else the cores that the thread which asks first may run on. Calls that run at once
/// share them.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub extern "C" fn bertscript_get_num_threads() -> i32 {
    let count = || i32::try_from(bertscript::thread_count()).unwrap_or(i32::MAX);
    std::panic::catch_unwind(count).unwrap_or(1)
}

/// Sets a log callback, which gets the messages of libtorch, which would go to stderr, and
/// those of this library. Without one, messages are dropped, unless the environment variable
/// `BERTSCRIPT_LOG` is set: then they go to stderr.
///
/// @param callback gets each message; must not throw; NULL for none
/// @param user what the callback gets first
/// @param level the least important messages that are wanted, such as
///        `BERTSCRIPT_LOG_WARNING`
///
/// Errors: `BERTSCRIPT_INVALID_ARGUMENT` for an unknown level.
/// Ownership: `user` stays the caller's.
/// Thread safety: any thread; a message of another thread may still be on its
/// way to the callback before. The callback may be called on any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_set_log_callback(
    callback: bertscript_log_callback,
    user: *mut c_void,
    level: bertscript_log_level,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        if !(log::BERTSCRIPT_LOG_ERROR..=log::BERTSCRIPT_LOG_WARNING).contains(&level) {
            let message = format!("level: found {level}, expected 1 or 2");
            return Err(Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message));
        }
        log::set_sink(callback, user, level);
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}
