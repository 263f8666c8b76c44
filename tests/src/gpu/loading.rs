//! Finding devices, in whatever order the parts of libtorch are loaded.

use super::{Checked, Prepared, ensure, load};
use crate::Execution;
use bertscript::{Device, Devices, Dtype, ErrorKind, Inputs, Module};
use std::ffi::{CStr, CString};
use std::path::Path;
use std::process::{Command, ExitCode};

pub(super) fn devices_are_described(_: &Prepared) -> Checked {
    let devices = Devices::find()?;
    for device in &devices.cuda {
        let known = !device.name.is_empty() && device.total_memory > 1 << 28;
        ensure(known && device.compute_capability.contains('.'), || format!("{device:?}"))?;
        device.device.parse::<Device>()?.resolve()?;
    }
    // SAFETY: the text is static.
    let json = unsafe { CStr::from_ptr(bertscript_ffi::bertscript_devices_json()) };
    let name = &devices.cuda[0].name;
    ensure(json.to_str()?.contains(name.as_str()), || format!("{json:?} lacks {name}"))
}

pub(super) fn a_wrong_index_is_refused(_: &Prepared) -> Checked {
    let count = Devices::find()?.cuda.len();
    let error = Device::Cuda(count).resolve().err().ok_or("a device too many was found")?;
    let message = error.to_string();
    let expected = format!("cuda:{count}: there are {count} CUDA devices, 0 to {}", count - 1);
    ensure(error.kind() == ErrorKind::Device && message == expected, || message)
}

pub(super) fn host_loads_first(prepared: &Prepared) -> Checked {
    in_another_process("host-first", prepared)
}

pub(super) fn host_asks_too_early(prepared: &Prepared) -> Checked {
    in_another_process("too-early", prepared)
}

/// The order of loading is a process's own.
fn in_another_process(order: &str, prepared: &Prepared) -> Checked {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args(["probe", order]).arg(&prepared.directory).output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure(output.status.success(), || format!("{}: {stderr}", output.status))
}

/// What such a process does.
pub fn probe(order: &str, directory: &Path) -> ExitCode {
    let prepared = Prepared { directory: directory.to_owned(), device: Device::Cuda(0) };
    let done = match order {
        "host-first" => host_first(&prepared),
        "too-early" => too_early(&prepared),
        _ => Err(format!("unknown order {order}").into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// As a host does that is linked to the whole of libtorch.
fn host_first(prepared: &Prepared) -> Checked {
    let name = CString::new("libtorch_cuda.so")?;
    // SAFETY: loads a library, whose initialisers are libtorch's.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    ensure(!library.is_null(), || "libtorch_cuda.so cannot be loaded".to_owned())?;
    ensure(tch::Cuda::is_available(), || "libtorch sees no device".to_owned())?;
    let module = load(&prepared.wide(), prepared.device, Dtype::F16, Execution::Unpadded)?;
    module.run(&Inputs::from_rows(&[[1, 2, 3]], 0)?)?;
    Ok(())
}

/// As a host does that seeds a generator before it loads this library.
fn too_early(prepared: &Prepared) -> Checked {
    ensure(!tch::Cuda::is_available(), || "libtorch_cuda.so was loaded already".to_owned())?;
    let error =
        Module::load(prepared.wide(), prepared.device, None).err().ok_or("it was loaded")?;
    let told = error.to_string().contains("was asked for CUDA in this process before");
    ensure(error.kind() == ErrorKind::Device && told, || error.to_string())?;
    let module = Module::load(prepared.wide(), Device::Cpu, None)?;
    module.run(&Inputs::from_rows(&[[1, 2, 3]], 0)?)?;
    Ok(())
}
