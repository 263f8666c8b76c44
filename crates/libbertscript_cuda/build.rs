//! Compiles the graphs where there are headers of CUDA, and a libtorch for it.

use std::env;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rustc-check-cfg=cfg(cuda)");
    println!("cargo:rerun-if-changed=src/graph.cpp");
    println!("cargo:rerun-if-env-changed=CUDA_HOME");
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    let lib = PathBuf::from(
        env::var_os("DEP_TCH_LIBTORCH_LIB").expect("torch-sys names the libtorch it links"),
    );
    if !lib.join("libtorch_cuda.so").exists() {
        return;
    }
    let Some(cuda) = cuda_include(&lib) else { return };
    let torch = lib.parent().expect("the libtorch directory holds lib").join("include");
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").pic(true).flag(format!("-D_GLIBCXX_USE_CXX11_ABI={abi}"));
    for include in [torch.clone(), torch.join("torch/csrc/api/include"), cuda] {
        build.flag("-isystem").flag(include.to_str().expect("a UTF-8 path to headers"));
    }
    build.flag("-fvisibility=hidden").file("src/graph.cpp").compile("bertscript_cuda_graph");
    println!("cargo:rustc-cfg=cuda");
    // The library is loaded when these are; what they need in turn is theirs.
    println!("cargo:rustc-link-search=native={}", lib.display());
    println!("cargo:rustc-cdylib-link-arg=-Wl,--no-as-needed,-ltorch_cuda,-lc10_cuda,-lc10");
    println!("cargo:rustc-cdylib-link-arg=-Wl,--allow-shlib-undefined,-z,nodelete");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libbertscript_cuda.so");
}

/// The headers of the wheel beside torch, or of a toolkit.
fn cuda_include(lib: &Path) -> Option<PathBuf> {
    let wheel = lib.ancestors().nth(2)?.join("nvidia/cu13/include");
    let toolkit = env::var_os("CUDA_HOME").map_or("/usr/local/cuda".into(), PathBuf::from);
    [wheel, toolkit.join("include")].into_iter().find(|found| {
        ["cuda.h", "cuda_runtime.h", "crt/host_config.h"]
            .iter()
            .all(|name| found.join(name).exists())
    })
}
