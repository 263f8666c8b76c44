//! Everything that takes a CUDA device to be shown.
//!
//! `gpu-check prepare DIR` writes models and their reference results where they were
//! built; `gpu-check run DIR` checks them on a machine with a device, which needs a
//! libtorch 2.11.0 for CUDA on its library path and nothing else. `cargo xtask
//! gpu-check` does both. `rehearse DIR` tries on the CPU what can be tried there.

use bertscript_tests::gpu;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["prepare", directory] => gpu::prepare(Path::new(directory)),
        ["run", directory] => gpu::run(Path::new(directory), ""),
        ["run", directory, filter] => gpu::run(Path::new(directory), filter),
        ["rehearse", directory] => gpu::rehearse(Path::new(directory)),
        ["probe", order, directory] => gpu::probe(order, Path::new(directory)),
        _ => {
            eprintln!("usage: gpu-check prepare DIR | run DIR [FILTER]");
            ExitCode::from(2)
        }
    }
}
