//! Streams and memory of the host's, by the C interface.

#![expect(clippy::undocumented_unsafe_blocks, reason = "each call is as the header says")]

use super::cudart::Cudart;
use super::numbers::rows;
use super::{Checked, Prepared, ensure, load};
use crate::Execution;
use bertscript::{Comparison, CudaStream, Device, Dtype, Inputs, Tensor};
use bertscript_ffi::*;
use std::ffi::{CStr, CString, c_void};
use std::ptr::{null, null_mut};
use tch::Kind;
use torchscript::OnStream;

/// Each on its own thread and stream, while the other runs.
pub(super) fn two_modules_on_two_streams(prepared: &Prepared) -> Checked {
    let cudart = Cudart::load()?;
    let inputs = Inputs::from_rows(&rows(), 0)?;
    std::thread::scope(|scope| -> Checked {
        let mut threads = Vec::new();
        for (dtype, execution) in
            [(Dtype::F16, Execution::Unpadded), (Dtype::F32, Execution::TorchScript)]
        {
            let reference =
                load(&prepared.wide(), prepared.device, dtype, execution)?.run(&inputs)?;
            let reference = reference.get("last_hidden_state")?.to_device(Device::Cpu)?;
            let (cudart, path) = (&cudart, prepared.wide());
            threads.push(scope.spawn(move || -> Result<(), String> {
                on_a_stream(cudart, &path, dtype, execution, &reference).map_err(|e| e.to_string())
            }));
        }
        for thread in threads {
            thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok(())
    })
}

/// From its first run on, which joins weights and captures graphs.
pub(super) fn one_module_on_two_streams(prepared: &Prepared) -> Checked {
    let cudart = Cudart::load()?;
    let inputs = [rows(), vec![vec![5, 6, 7, 8]]];
    let reference = load(&prepared.wide(), Device::Cpu, Dtype::F32, Execution::Unpadded)?;
    for _ in 0..10 {
        let module = load(&prepared.wide(), prepared.device, Dtype::F32, Execution::Unpadded)?;
        std::thread::scope(|scope| -> Checked {
            let threads = inputs.each_ref().map(|rows| {
                let (module, reference, cudart) = (&module, &reference, &cudart);
                scope.spawn(move || -> Result<(), String> {
                    let stream = cudart.stream()?;
                    let inputs = Inputs::from_rows(rows, 0).map_err(|error| error.to_string())?;
                    let entered = OnStream::enter(0, unsafe { CudaStream::from_raw(stream.raw) });
                    let _entered = entered.map_err(|error| error.to_string())?;
                    let run = || -> Checked {
                        let expected = reference.run(&inputs)?;
                        for _ in 0..20 {
                            let found = module.run(&inputs)?;
                            module.wait()?;
                            for (name, expected) in expected.iter() {
                                let comparison =
                                    Comparison::new(name, found.get(name)?, expected, 1e-4)?;
                                ensure(comparison.is_equal(), || format!("{comparison:?}"))?;
                            }
                        }
                        Ok(())
                    };
                    run().map_err(|error| error.to_string())
                })
            });
            for thread in threads {
                thread.join().map_err(|_| "a thread panicked")??;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn on_a_stream(
    cudart: &Cudart,
    path: &std::path::Path,
    dtype: Dtype,
    execution: Execution,
    expected: &Tensor,
) -> Checked {
    let stream = cudart.stream()?;
    let (path, device) = (CString::new(path.to_str().ok_or("a path")?)?, c"cuda:0");
    let engine = match execution {
        Execution::TorchScript => c"torchscript",
        _ => c"auto",
    };
    let dtype = CString::new(dtype.name())?;
    let rows = rows();
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
    let (mut ids, mut mask) = (vec![0; rows.len() * longest], vec![0; rows.len() * longest]);
    for (row, tokens) in rows.iter().enumerate() {
        ids[row * longest..][..tokens.len()].copy_from_slice(tokens);
        mask[row * longest..][..tokens.len()].fill(1);
    }
    unsafe {
        let [mut loaded, mut cast, mut module] = [null_mut(); 3];
        let place = &raw mut loaded;
        call(|e| bertscript_module_load(path.as_ptr(), device.as_ptr(), place, e))?;
        let place = &raw mut cast;
        call(|e| bertscript_module_to(loaded, null(), dtype.as_ptr(), place, e))?;
        let place = &raw mut module;
        call(|e| bertscript_module_with_engine(cast, engine.as_ptr(), null(), place, e))?;
        let options = bertscript_run_options_new();
        call(|e| bertscript_run_options_set_stream(options, stream.raw, e))?;
        for _ in 0..50 {
            let mut outputs = [null_mut(); 4];
            let (mut count, room) = (0, outputs.len());
            call(|e| {
                bertscript_module_run_ids(
                    module,
                    ids.as_ptr(),
                    mask.as_ptr(),
                    null(),
                    rows.len(),
                    longest,
                    options,
                    outputs.as_mut_ptr(),
                    room,
                    &raw mut count,
                    e,
                )
            })?;
            stream.synchronize()?;
            let found = host(outputs[0], expected)?;
            let comparison = Comparison::new("last_hidden_state", &found, expected, 1e-6)?;
            ensure(comparison.is_equal(), || format!("{comparison:?}"))?;
            outputs[..count].iter().for_each(|output| bertscript_tensor_free(*output));
        }
        bertscript_run_options_free(options);
        for module in [module, cast, loaded] {
            bertscript_module_free(module);
        }
    }
    Ok(())
}

/// The numbers of a tensor of the library, like those of another tensor.
unsafe fn host(
    tensor: *const bertscript_tensor,
    like: &Tensor,
) -> Result<Tensor, Box<dyn std::error::Error>> {
    let mut bytes = vec![0_u8; like.nbytes()];
    let (memory, room) = (bytes.as_mut_ptr().cast(), bytes.len());
    call(|e| unsafe { bertscript_tensor_copy_to(tensor, memory, room, null_mut(), e) })?;
    Ok(Tensor::from_bytes(like.element_type(), like.shape(), &bytes)?)
}

/// The beginning of a `DLManagedTensorVersioned`, as DLPack 1 has it.
#[repr(C)]
struct Versioned {
    version: [u32; 2],
    manager: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut c_void)>,
    flags: u64,
    data: *mut c_void,
    device_type: i32,
    device_id: i32,
}

/// `kDLCUDA`
const DLPACK_CUDA: i32 = 2;

/// From a tensor to DLPack, to another tensor: one memory.
pub(super) fn dlpack_shares_device_memory(_: &Prepared) -> Checked {
    let values: Vec<f32> = (0..24).map(|value| value as f32).collect();
    let shape = [4_i64, 6];
    unsafe {
        let (mut host, mut device) = (null_mut(), null_mut());
        let place = &raw mut host;
        let data = values.as_ptr().cast();
        call(|e| {
            let dtype = BERTSCRIPT_FLOAT32;
            bertscript_tensor_copy_from(dtype, shape.as_ptr(), 2, data, 96, place, e)
        })?;
        let place = &raw mut device;
        call(|e| bertscript_tensor_to_device(host, c"cuda:0".as_ptr(), place, e))?;
        let mut managed = null_mut();
        let place = &raw mut managed;
        call(|e| bertscript_tensor_to_dlpack(device, place, e))?;
        let versioned = &*managed.cast::<Versioned>();
        let (memory, kind) = (versioned.data, versioned.device_type);
        ensure(kind == DLPACK_CUDA && versioned.device_id == 0, || format!("device type {kind}"))?;
        let mut again = null_mut();
        let place = &raw mut again;
        call(|e| bertscript_tensor_from_dlpack(managed, place, e))?;
        let shown = CStr::from_ptr(bertscript_tensor_device(again));
        ensure(shown == c"cuda:0", || format!("{shown:?}"))?;
        let mut managed = null_mut();
        let place = &raw mut managed;
        call(|e| bertscript_tensor_to_dlpack(again, place, e))?;
        let versioned = &*managed.cast::<Versioned>();
        ensure(versioned.data == memory, || format!("{memory:?}, {:?}", versioned.data))?;
        if let Some(deleter) = versioned.deleter {
            deleter(managed.cast());
        }
        // What was there first may go first.
        bertscript_tensor_free(device);
        let mut back = vec![0_f32; 24];
        let room = back.as_mut_ptr().cast();
        call(|e| bertscript_tensor_copy_to(again, room, 96, null_mut(), e))?;
        ensure(back == values, || format!("{back:?}"))?;
        bertscript_tensor_free(again);
        bertscript_tensor_free(host);
    }
    // Memory of the host's own, borrowed.
    let mine = tch::Tensor::arange(10, (Kind::Float, tch::Device::Cuda(0)));
    unsafe {
        let mut borrowed = null_mut();
        let (place, shape) = (&raw mut borrowed, [10_i64]);
        call(|e| {
            bertscript_tensor_borrow(
                BERTSCRIPT_FLOAT32,
                shape.as_ptr(),
                null(),
                1,
                mine.data_ptr(),
                40,
                c"cuda:0".as_ptr(),
                None,
                null_mut(),
                place,
                e,
            )
        })?;
        let mut managed = null_mut();
        let place = &raw mut managed;
        call(|e| bertscript_tensor_to_dlpack(borrowed, place, e))?;
        let versioned = &*managed.cast::<Versioned>();
        ensure(versioned.data == mine.data_ptr(), || "borrowed memory was copied".to_owned())?;
        if let Some(deleter) = versioned.deleter {
            deleter(managed.cast());
        }
        bertscript_tensor_free(borrowed);
    }
    Ok(())
}

/// A C call, whose error becomes one of Rust.
fn call(
    call: impl FnOnce(*mut *mut bertscript_error) -> bertscript_status,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut error = null_mut();
    let status = call(&raw mut error);
    if status == BERTSCRIPT_OK {
        return Ok(());
    }
    let message = unsafe { CStr::from_ptr(bertscript_error_message(error)) };
    let message = format!("status {status}: {}", message.to_string_lossy());
    unsafe { bertscript_error_free(error) };
    Err(message.into())
}
