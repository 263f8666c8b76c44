//! Plug-ins in C: what is refused, and what crosses the boundary.

use bertscript_plugin::{
    CudaStream, DataType, ManagedTensor, NotLoaded, OnStream, Plugin, send_log_to,
};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// The messages of the plug-in.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// Compiles the plug-in of `plugin.c` with definitions of the preprocessor.
fn compile(folder: &Path, name: &str, definitions: &[&str]) -> PathBuf {
    build(folder, name, concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plugin.c"), definitions)
}

fn build(folder: &Path, name: &str, source: &str, arguments: &[&str]) -> PathBuf {
    let file = folder.join(name);
    let compiler = Command::new("cc")
        .args(["-std=c99", "-Wall", "-Werror", "-shared", "-fPIC", "-o"])
        .arg(&file)
        .args(arguments)
        .arg(source)
        .status();
    assert!(compiler.unwrap().success());
    file
}

fn load() -> Result<&'static Plugin, NotLoaded> {
    Plugin::load(RELEASE)
}

/// What is said of a plug-in, before one is loaded.
fn refused(named: &Path) -> String {
    // SAFETY: this is the only test of its process.
    unsafe { std::env::set_var("BERTSCRIPT_TORCH", named) };
    load().unwrap_err().to_string()
}

/// What a program says that has no plug-in, or a wrong one: a copy of this one, in a folder of its own.
fn alone(folder: &Path) -> String {
    std::fs::create_dir_all(folder).unwrap();
    let program = folder.join("alone");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut program = Command::new(program);
    program.args(["--exact", "plug_ins_are_loaded_or_refused_by_name", "--nocapture"]);
    program.env_remove("BERTSCRIPT_TORCH").env_remove("LD_LIBRARY_PATH").env("ALONE", "1");
    let output = String::from_utf8(program.output().unwrap().stdout).unwrap();
    let said = output.lines().find_map(|line| line.split_once("SAID: "));
    said.unwrap_or_else(|| panic!("{output}")).1.to_owned()
}

// One test: a plug-in that was loaded stays.
#[test]
fn plug_ins_are_loaded_or_refused_by_name() {
    if std::env::var_os("ALONE").is_some() {
        println!("\nSAID: {}", load().unwrap_err());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let message = alone(folder);
    assert!(message.starts_with("libbertscript_torch.so is not beside this library"), "{message}");
    assert!(message.contains("name it by BERTSCRIPT_TORCH"), "{message}");
    // In a Python environment it is in the package's directory; beside another folder than `bin`, `lib` may be anybody's.
    for (place, bin, release, is_found) in [
        ("lib/python3.11/site-packages", "bin", "0.1.0", true),
        ("lib64/python3.9/site-packages", "bin", "0.1.0", true),
        ("lib/python3.11/dist-packages", "bin", "0.1.0", true),
        ("lib/python3.11/site-packages", "build", "0.1.0", false),
        ("lib/python3.11/site-packages", "bin", "0.0.9", false),
    ] {
        let environment = tempfile::tempdir().unwrap();
        let lib = environment.path().join(place).join("bertscript/lib");
        std::fs::create_dir_all(&lib).unwrap();
        let release = format!("bertscript_torch-{release}.dist-info");
        std::fs::create_dir(environment.path().join(place).join(release)).unwrap();
        std::fs::write(lib.join("libbertscript_torch.so"), "text").unwrap();
        let message = alone(&environment.path().join(bin));
        assert_eq!(message.contains(&format!("{place}/bertscript/lib")), is_found, "{message}");
    }
    let message = refused(&folder.join("missing.so"));
    assert!(message.ends_with("missing.so, which BERTSCRIPT_TORCH names, is not a file"));
    std::fs::write(folder.join("text.so"), "text").unwrap();
    let message = refused(&folder.join("text.so"));
    assert!(message.contains("does not load") && message.contains("text.so"), "{message}");
    std::fs::write(folder.join("empty.c"), "int empty;").unwrap();
    let other = build(folder, "other.so", folder.join("empty.c").to_str().unwrap(), &[]);
    let message = refused(&other);
    assert!(message.contains("without bertscript_torch_interface"), "{message}");
    let message = refused(&compile(folder, "next.so", &["-DVERSION=3", "-DRELEASE=0"]));
    assert!(message.ends_with("found version 3 of the interface, expected 2"), "{message}");
    let message = refused(&compile(folder, "old.so", &["-DRELEASE=\"0.0.9\""]));
    assert!(message.ends_with("found the plug-in of bertscript 0.0.9, expected 0.1.0"));

    // A libtorch that the host brought, of another version.
    let torch = folder.join("torch.c");
    let version =
        "#include <stdint.h>\nuint64_t aoti_torch_abi_version(void) { return MINOR << 48; }";
    std::fs::write(&torch, version.replace("MINOR", "0x020cULL")).unwrap();
    let torch =
        build(folder, "libtorch_cpu.so", torch.to_str().unwrap(), &["-Wl,-soname,libtorch_cpu.so"]);
    let working = compile(folder, "libbertscript_torch.so", &[]);
    // SAFETY: it runs nothing when it is loaded.
    let host = unsafe { libloading::Library::new(torch) }.unwrap();
    let message = refused(&working);
    assert_eq!(message, "the process has loaded libtorch 2.12.0, expected 2.11.0");
    drop(host);
    // One that is too old to say its version: a file beside it does.
    std::fs::create_dir(folder.join("lib")).unwrap();
    std::fs::write(folder.join("version.py"), "debug = False\n__version__ = '2.5.1+cpu'\n")
        .unwrap();
    let empty = folder.join("empty.c");
    let old = build(
        folder,
        "lib/libtorch_cpu.so",
        empty.to_str().unwrap(),
        &["-Wl,-soname,libtorch_cpu.so"],
    );
    // SAFETY: as above.
    let host = unsafe { libloading::Library::new(old) }.unwrap();
    let message = refused(&working);
    assert_eq!(message, "the process has loaded libtorch 2.5.1+cpu, expected 2.11.0");
    drop(host);
    // That the plug-in brings.
    let torch = folder.join("libtorch_cpu.so");
    // Which, unlike a RUNPATH, is looked at before what cargo puts into LD_LIBRARY_PATH.
    let rpath = format!("-Wl,--disable-new-dtags,-rpath,{}", folder.display());
    let needs = ["-Wl,--no-as-needed", torch.to_str().unwrap(), &rpath];
    let message = refused(&compile(folder, "bound.so", &needs));
    assert_eq!(message, "the process has loaded libtorch 2.12.0, expected 2.11.0");
    // SAFETY: as above.
    unsafe { std::env::set_var("BERTSCRIPT_TORCH", &working) };

    // In a folder that is named.
    // SAFETY: as above.
    unsafe { std::env::set_var("BERTSCRIPT_TORCH", folder) };
    assert!(Plugin::loaded().is_none());
    let plugin = load().unwrap();
    assert_eq!(plugin.path(), working);
    let memory = Arc::new(vec![7_u8; 16]);
    let kept = Arc::downgrade(&memory);
    let float = DataType { code: 2, bits: 32, lanes: 1 };
    let tensor = || ManagedTensor::over(memory.clone(), float, &[2, 2]).unwrap();
    let (text, tensors) = plugin.call("asked: é", vec![tensor(), tensor()]);
    assert_eq!(text, "asked: é");
    assert_eq!(tensors.len(), 2);
    assert_eq!((tensors[1].shape(), tensors[1].as_ref()), (&[2, 2][..], &[7_u8; 16][..]));
    send_log_to(|level, text| SAID.lock().unwrap().push(format!("{level:?} {text}")));
    {
        // SAFETY: the plug-in puts no work on it.
        let stream = unsafe { CudaStream::from_raw(std::ptr::without_provenance_mut(7)) };
        let _on_stream = OnStream::enter(2, stream);
        plugin.call("", Vec::new());
    }
    let (text, none) = plugin.call("", Vec::new());
    assert_eq!(*SAID.lock().unwrap(), ["Error on stream 7 of device 2", "Warning on no stream"]);
    assert!(text.is_empty() && none.is_empty());
    drop((memory, tensors));
    assert!(kept.upgrade().is_none());
    assert!(std::ptr::eq(Plugin::load("another").unwrap(), plugin));
}
