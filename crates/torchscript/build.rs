//! Compiles the C++ shim against the libtorch that torch-sys found.

use std::env;
use std::path::{Path, PathBuf};

const SOURCES: [&str; 10] = [
    "archive",
    "attention",
    "cuda",
    "graph",
    "memory",
    "module",
    "runtime",
    "threads",
    "trace",
    "value",
];

fn main() {
    let lib = PathBuf::from(
        env::var_os("DEP_TCH_LIBTORCH_LIB").expect("torch-sys names the libtorch it links"),
    );
    println!("cargo:rerun-if-changed=shim");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");

    let root = env::var_os("LIBTORCH_INCLUDE").map_or_else(
        || lib.parent().expect("the libtorch directory holds lib").to_owned(),
        PathBuf::from,
    );
    let include = root.join("include");
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .pic(true)
        // libtorch's own headers are not warning-free; ours are compiled as strictly as they allow.
        .flag("-isystem")
        .flag(include.to_str().expect("a UTF-8 path to libtorch"))
        .flag("-isystem")
        .flag(include.join("torch/csrc/api/include").to_str().expect("a UTF-8 path to libtorch"))
        .flag(format!("-D_GLIBCXX_USE_CXX11_ABI={abi}"))
        .flag("-DGLOG_USE_GLOG_EXPORT")
        .flag("-fvisibility=hidden")
        .files(SOURCES.map(|name| format!("shim/{name}.cpp")))
        .compile("torchscript_shim");

    expose_libtorch_to_cargo(&lib);
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    println!("cargo:rustc-link-lib=dl");
}

/// Cargo adds a link-search directory to the library path of `cargo run`,
/// `cargo test` and doctests only when it lies inside `target`. A link to
/// libtorch from there makes all of them find it, in every dependent crate.
fn expose_libtorch_to_cargo(lib: &Path) {
    let link = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("libtorch");
    let _ = std::fs::remove_file(&link);
    #[cfg(unix)]
    std::os::unix::fs::symlink(lib, &link).expect("a symbolic link in OUT_DIR");
    println!("cargo:rustc-link-search=native={}", link.display());
}
