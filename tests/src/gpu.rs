//! What takes a CUDA device to be shown, as a program that runs without Rust and
//! without a network: see `bin/gpu-check.rs`.

mod cudart;
mod faults;
mod loading;
mod numbers;
mod prepare;
mod programs;
mod sharing;

pub use loading::probe;
pub use prepare::prepare;

use crate::Execution;
use bertscript::{Device, Devices, Dtype, Module};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// What a check found: nothing wrong, or what.
type Checked = Result<(), Box<dyn std::error::Error>>;

/// A check, by name.
type Check = (&'static str, fn(&Prepared) -> Checked);

/// What the checks run on.
struct Prepared {
    /// The folder that was written before.
    directory: PathBuf,
    /// `cuda:0`, or the CPU when the checks themselves are tried.
    device: Device,
}

/// The name of a device for libtorch.
fn of_torch(device: Device) -> tch::Device {
    match device {
        Device::Cpu => tch::Device::Cpu,
        Device::Cuda(index) => tch::Device::Cuda(index),
    }
}

/// What holds on every device.
const ANYWHERE: [Check; 8] = [
    ("float32 equals transformers", numbers::float32_equals_the_reference),
    ("float16 equals transformers", numbers::float16_equals_the_reference),
    ("bfloat16 equals transformers", numbers::bfloat16_equals_the_reference),
    ("texts of many lengths equal the CPU", numbers::many_lengths_equal_the_cpu),
    ("embeddings of texts equal the CPU", numbers::embeddings_equal_the_cpu),
    ("a saved module is as it was", numbers::saving_from_a_device),
    ("a bad id poisons nothing", faults::a_bad_id_poisons_nothing),
    ("the command and a C program", programs::the_command_and_a_c_program),
];

/// What takes a CUDA device.
const ON_CUDA: [Check; 11] = [
    ("devices are described", loading::devices_are_described),
    ("a device that is not there is refused", loading::a_wrong_index_is_refused),
    ("a host that loads libtorch_cuda first", loading::host_loads_first),
    ("a host that asks for CUDA too early is told", loading::host_asks_too_early),
    ("every device computes the same", numbers::every_device_computes_the_same),
    ("small batches by CUDA graphs equal the CPU", numbers::graphs_equal_the_cpu),
    ("memory that runs out is an error, and comes back", faults::memory_runs_out_and_comes_back),
    ("memory does not grow", faults::memory_does_not_grow),
    ("two modules on two streams", sharing::two_modules_on_two_streams),
    ("one module on two streams", sharing::one_module_on_two_streams),
    ("DLPack shares device memory", sharing::dlpack_shares_device_memory),
];

/// Runs the checks whose name has the filter in it. Without a device nothing was
/// checked, which is no success.
pub fn run(directory: &Path, filter: &str) -> ExitCode {
    let chosen = ON_CUDA.iter().chain(&ANYWHERE).filter(|(name, _)| name.contains(filter));
    let devices = match Devices::find() {
        Ok(devices) => devices,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    for device in &devices.cuda {
        println!("{}  {}, {} bytes", device.device, device.name, device.total_memory);
    }
    if let Some(reason) = devices.cuda_unavailable {
        println!("0 passed, 0 failed, {} skipped", chosen.count());
        eprintln!("error: nothing was checked, there is no CUDA device: {reason}");
        return ExitCode::FAILURE;
    }
    check(chosen, &Prepared { directory: directory.to_owned(), device: Device::Cuda(0) })
}

/// Tries on the CPU the checks that can be tried there, so that they are known to
/// work before there is a device.
pub fn rehearse(directory: &Path) -> ExitCode {
    check(ANYWHERE.iter(), &Prepared { directory: directory.to_owned(), device: Device::Cpu })
}

fn check<'a>(checks: impl Iterator<Item = &'a Check>, prepared: &Prepared) -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    for (name, check) in checks {
        let started = Instant::now();
        let found = catch_unwind(AssertUnwindSafe(|| check(prepared)));
        let seconds = started.elapsed().as_secs_f64();
        match found {
            Ok(Ok(())) => {
                passed += 1;
                println!("ok      {name} ({seconds:.1} s)");
            }
            Ok(Err(error)) => {
                failed += 1;
                println!("FAILED  {name}: {error}");
            }
            Err(_) => {
                failed += 1;
                println!("FAILED  {name}: it panicked");
            }
        }
    }
    println!("\n{passed} passed, {failed} failed, 0 skipped");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Prepared {
    /// The folders of goldens: a model, its inputs and the reference's outputs.
    fn goldens(&self) -> std::io::Result<Vec<PathBuf>> {
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(self.directory.join("goldens"))? {
            folders.push(entry?.path());
        }
        folders.sort();
        if folders.is_empty() {
            return Err(std::io::Error::other("no goldens were prepared"));
        }
        Ok(folders)
    }

    /// A model with attention heads as wide as those of BERT, of random weights.
    fn wide(&self) -> PathBuf {
        self.directory.join("wide.pt")
    }

    /// Programs that were built beside this one, where they were.
    fn program(&self, name: &str) -> PathBuf {
        let beside = std::env::current_exe().unwrap_or_default();
        beside.with_file_name(name)
    }

    /// A model that embeds texts.
    fn sentence(&self) -> PathBuf {
        self.directory.join("sentence.pt")
    }
}

/// Fails with what was found, unless it holds.
fn ensure(holds: bool, found: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(found().into()) }
}

fn load(
    path: &Path,
    device: Device,
    dtype: Dtype,
    execution: Execution,
) -> bertscript::Result<Module> {
    execution.of(&Module::load(path, device, Some(dtype))?)
}
