//! The shim's functions, as declared in `shim/*.cpp`.

use std::ffi::{c_char, c_int, c_void};
use torch_sys::C_tensor;

#[repr(C)]
pub(crate) struct TsError {
    _private: [u8; 0],
}
#[repr(C)]
pub(crate) struct TsModule {
    _private: [u8; 0],
}
#[repr(C)]
pub(crate) struct TsValue {
    _private: [u8; 0],
}
#[repr(C)]
pub(crate) struct DLManagedTensorVersioned {
    _private: [u8; 0],
}

pub(crate) type TracedFn =
    unsafe extern "C" fn(*mut c_void, *mut *mut C_tensor, usize, *mut *mut TsValue) -> c_int;
pub(crate) type WriteFn = unsafe extern "C" fn(*mut c_void, *const c_void, usize) -> usize;
pub(crate) type ReleaseFn = unsafe extern "C" fn(*mut c_void);
pub(crate) type WarningFn = unsafe extern "C" fn(*const c_char, usize);
pub(crate) type PushFn = unsafe extern "C" fn(*mut c_void, *mut TsValue);

unsafe extern "C" {
    pub(crate) fn ts_error_get(e: *const TsError, m: *mut *const c_char, n: *mut usize) -> c_int;
    pub(crate) fn ts_error_free(e: *mut TsError);

    pub(crate) fn ts_value_none(out: *mut *mut TsValue) -> *mut TsError;
    pub(crate) fn ts_value_tensor(t: *const C_tensor, out: *mut *mut TsValue) -> *mut TsError;
    pub(crate) fn ts_value_bool(v: c_int, out: *mut *mut TsValue) -> *mut TsError;
    pub(crate) fn ts_value_int(v: i64, out: *mut *mut TsValue) -> *mut TsError;
    pub(crate) fn ts_value_double(v: f64, out: *mut *mut TsValue) -> *mut TsError;
    pub(crate) fn ts_value_string(
        data: *const c_char,
        length: usize,
        out: *mut *mut TsValue,
    ) -> *mut TsError;
    pub(crate) fn ts_value_tuple(
        items: *const *const TsValue,
        count: usize,
        out: *mut *mut TsValue,
    ) -> *mut TsError;
    pub(crate) fn ts_value_list(
        items: *const *const TsValue,
        count: usize,
        out: *mut *mut TsValue,
    ) -> *mut TsError;
    pub(crate) fn ts_value_tag(v: *const TsValue) -> c_int;
    pub(crate) fn ts_value_get_tensor(v: *const TsValue, out: *mut *mut C_tensor) -> *mut TsError;
    pub(crate) fn ts_value_get_bool(v: *const TsValue, out: *mut c_int) -> *mut TsError;
    pub(crate) fn ts_value_get_int(v: *const TsValue, out: *mut i64) -> *mut TsError;
    pub(crate) fn ts_value_get_double(v: *const TsValue, out: *mut f64) -> *mut TsError;
    pub(crate) fn ts_value_get_string(
        v: *const TsValue,
        data: *mut *const c_char,
        length: *mut usize,
    ) -> *mut TsError;
    pub(crate) fn ts_value_type_name(v: *const TsValue, out: *mut *mut TsValue) -> *mut TsError;
    pub(crate) fn ts_value_items(
        v: *const TsValue,
        push: PushFn,
        user: *mut c_void,
    ) -> *mut TsError;
    pub(crate) fn ts_value_free(v: *mut TsValue);

    pub(crate) fn ts_module_new(name: *const c_char, out: *mut *mut TsModule) -> *mut TsError;
    pub(crate) fn ts_module_free(m: *mut TsModule);
    pub(crate) fn ts_module_register(
        m: *mut TsModule,
        path: *const c_char,
        tensor: *const C_tensor,
        is_parameter: c_int,
    ) -> *mut TsError;
    pub(crate) fn ts_module_named_tensors(
        m: *const TsModule,
        out: *mut *mut TsValue,
    ) -> *mut TsError;
    pub(crate) fn ts_module_define(m: *mut TsModule, source: *const c_char) -> *mut TsError;
    pub(crate) fn ts_module_eval(m: *mut TsModule) -> *mut TsError;
    pub(crate) fn ts_module_to(
        m: *mut TsModule,
        device: *const c_char,
        dtype: c_int,
    ) -> *mut TsError;
    pub(crate) fn ts_module_clone(m: *const TsModule, out: *mut *mut TsModule) -> *mut TsError;
    pub(crate) fn ts_module_freeze(
        m: *const TsModule,
        preserved: *const *const c_char,
        count: usize,
        out: *mut *mut TsModule,
    ) -> *mut TsError;
    pub(crate) fn ts_module_has_method(
        m: *const TsModule,
        name: *const c_char,
        out: *mut c_int,
    ) -> *mut TsError;
    pub(crate) fn ts_module_schema(
        m: *const TsModule,
        method: *const c_char,
        out: *mut *mut TsValue,
    ) -> *mut TsError;
    pub(crate) fn ts_module_constants(
        m: *const TsModule,
        method: *const c_char,
        out: *mut *mut TsValue,
    ) -> *mut TsError;
    pub(crate) fn ts_module_call(
        m: *const TsModule,
        method: *const c_char,
        arguments: *const *const TsValue,
        count: usize,
        keywords: *const *const c_char,
        keyword_values: *const *const TsValue,
        keyword_count: usize,
        out: *mut *mut TsValue,
    ) -> *mut TsError;
    pub(crate) fn ts_module_trace(
        m: *mut TsModule,
        method: *const c_char,
        inputs: *const *const C_tensor,
        names: *const *const c_char,
        count: usize,
        traced: TracedFn,
        user: *mut c_void,
    ) -> *mut TsError;
    pub(crate) fn ts_is_tracing() -> c_int;
    pub(crate) fn ts_module_save(
        m: *const TsModule,
        names: *const *const c_char,
        contents: *const *const c_char,
        lengths: *const usize,
        count: usize,
        write: WriteFn,
        user: *mut c_void,
    ) -> *mut TsError;
    pub(crate) fn ts_module_load(
        descriptor: c_int,
        data: *const c_void,
        length: usize,
        device: *const c_char,
        out: *mut *mut TsModule,
    ) -> *mut TsError;

    pub(crate) fn ts_tensor_borrow(
        data: *mut c_void,
        sizes: *const i64,
        strides: *const i64,
        rank: usize,
        dtype: c_int,
        device: *const c_char,
        release: Option<ReleaseFn>,
        user: *mut c_void,
        out: *mut *mut C_tensor,
    ) -> *mut TsError;
    pub(crate) fn ts_tensor_from_dlpack(
        managed: *mut DLManagedTensorVersioned,
        out: *mut *mut C_tensor,
    ) -> *mut TsError;
    pub(crate) fn ts_tensor_to_dlpack(
        tensor: *const C_tensor,
        out: *mut *mut DLManagedTensorVersioned,
    ) -> *mut TsError;

    pub(crate) fn ts_loaded_torch_version() -> u64;
    pub(crate) fn ts_warnings_redirect(sink: WarningFn) -> *mut c_void;
    pub(crate) fn ts_warnings_restore(redirected: *mut c_void);
    pub(crate) fn ts_torch_version() -> *const c_char;
    pub(crate) fn ts_inference_mode_new() -> *mut c_void;
    pub(crate) fn ts_inference_mode_free(guard: *mut c_void);
    pub(crate) fn ts_graph_optimizer_set(enabled: c_int) -> c_int;

    pub(crate) fn ts_cuda_device_count(count: *mut i64, reason: *mut *mut TsValue) -> *mut TsError;
    pub(crate) fn ts_cuda_device_get(
        index: c_int,
        name: *mut *mut TsValue,
        total_memory: *mut u64,
        major: *mut c_int,
        minor: *mut c_int,
    ) -> *mut TsError;
    pub(crate) fn ts_cuda_stream_enter(
        index: c_int,
        handle: *mut c_void,
        out: *mut *mut c_void,
    ) -> *mut TsError;
    pub(crate) fn ts_cuda_stream_leave(entered: *mut c_void);
    pub(crate) fn ts_cuda_synchronize(index: c_int) -> *mut TsError;
    pub(crate) fn ts_cuda_allow_tf32(allowed: c_int) -> *mut TsError;

    pub(crate) fn ts_cuda_graph_begin(device: c_int, out: *mut *mut c_void) -> *mut TsError;
    pub(crate) fn ts_cuda_graph_capture(graph: *mut c_void) -> *mut TsError;
    pub(crate) fn ts_cuda_graph_end(graph: *mut c_void) -> *mut TsError;
    pub(crate) fn ts_cuda_graph_replay(graph: *mut c_void) -> *mut TsError;
    pub(crate) fn ts_cuda_graph_free(graph: *mut c_void) -> *mut TsError;
    pub(crate) fn ts_cuda_event_new(out: *mut *mut c_void) -> *mut TsError;
    pub(crate) fn ts_cuda_event_record(event: *mut c_void, device: c_int) -> *mut TsError;
    pub(crate) fn ts_cuda_event_block(event: *const c_void, device: c_int) -> *mut TsError;
    pub(crate) fn ts_cuda_event_free(event: *mut c_void);

    pub(crate) fn ts_varlen_attention(
        query: *const C_tensor,
        key: *const C_tensor,
        value: *const C_tensor,
        cu_seqlens: *const C_tensor,
        longest: i64,
        flash: c_int,
        window: i64,
        out: *mut *mut C_tensor,
    ) -> *mut TsError;

    pub(crate) fn ts_use_one_thread() -> *mut TsError;
    pub(crate) fn ts_end_pool(has_ended: *mut c_int) -> *mut TsError;
}
