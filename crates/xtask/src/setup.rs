//! Finding libtorch 2.11.0.
//!
//! Whatever is found ends up under one name, `.libtorch/torch`, which
//! `.cargo/config.toml` names as `LIBTORCH`: so plain cargo and rust-analyzer
//! work without an environment.

use crate::command::output;
use crate::{announce, python, root};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The libtorch that tch 0.24 binds.
const VERSION: &str = "2.11.0";

/// PyPI has no CPU-only wheel for x86-64 Linux. This one runs on the CPU with
/// two small libraries beside it, instead of the 4 GB it asks for; the headers of the
/// last one are what CUDA graphs are compiled with.
const SLIM: [&str; 4] = [
    "torch==2.11.0",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-cupti==13.0.85",
    "nvidia-cuda-crt==13.0.88",
];

/// What else the wheel of torch 2.11.0 asks for to use a GPU.
const CUDA: [&str; 13] = [
    "nvidia-cublas==13.1.0.3",
    "nvidia-cuda-nvrtc==13.0.88",
    "nvidia-cudnn-cu13==9.19.0.56",
    "nvidia-cufft==12.0.0.61",
    "nvidia-cufile==1.15.1.6",
    "nvidia-curand==10.4.0.35",
    "nvidia-cusolver==12.0.4.66",
    "nvidia-cusparse==12.6.3.3",
    "nvidia-cusparselt-cu13==0.8.0",
    "nvidia-nccl-cu13==2.28.9",
    "nvidia-nvjitlink==13.0.88",
    "nvidia-nvshmem-cu13==3.4.5",
    "nvidia-nvtx==13.0.85",
];

/// Options of pip for the wheels of this platform whatever Python unpacks them:
/// nothing of theirs is imported.
fn any_python() -> Vec<String> {
    let mut options: Vec<_> =
        ["--only-binary=:all:", "--implementation=cp", "--python-version=3.12", "--abi=cp312"]
            .map(str::to_owned)
            .to_vec();
    // Told a platform, pip takes it to the letter: every older glibc is named too.
    options.extend((17..=28).rev().map(|glibc| format!("--platform=manylinux_2_{glibc}_x86_64")));
    options.push("--platform=manylinux2014_x86_64".to_owned());
    options
}

/// Makes `.libtorch/torch` a libtorch 2.11.0: the user's own, that of the
/// active Python environment, or a download.
pub(crate) fn setup() -> Result<()> {
    prepare(false)
}

/// As [`setup`]; a download brings the libraries of CUDA too, and a libtorch of the
/// user's must be one for CUDA.
pub(crate) fn setup_with_cuda() -> Result<()> {
    prepare(true)?;
    let torch = root().join(".libtorch/torch");
    if !torch.join("lib/libtorch_cuda.so").exists() {
        let found = torch.canonicalize().unwrap_or(torch);
        bail!("{} has no lib/libtorch_cuda.so: it is a libtorch for the CPU", found.display());
    }
    announce("run `bertscript devices` to see what is found");
    Ok(())
}

fn prepare(cuda: bool) -> Result<()> {
    let home = root().join(".libtorch");
    let ours = home.join("torch");
    let user = std::env::var_os("LIBTORCH").map(PathBuf::from).filter(|path| *path != ours);
    if let Some(path) = user {
        match version(&path) {
            Some(found) if found == VERSION => {}
            Some(found) => bail!(
                "LIBTORCH={} holds libtorch {found}, {VERSION} is needed; unset it to have the right one downloaded",
                path.display()
            ),
            None => bail!(
                "LIBTORCH={} holds no libtorch: include and lib are expected there",
                path.display()
            ),
        }
        return link(&path, &ours, "LIBTORCH");
    }
    let has_cuda = || ours.is_symlink() || home.join("nvidia/cudnn/lib").is_dir();
    if version(&ours).as_deref() == Some(VERSION) && (!cuda || has_cuda()) {
        return Ok(());
    }
    if let Some(path) = pytorch_of_active_environment() {
        return link(&path, &ours, "the active Python environment");
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!(
            "no libtorch can be downloaded for this platform; set LIBTORCH to a libtorch {VERSION}"
        );
    }
    let (packages, size, space) = match cuda {
        false => (&[][..], "550 MB", 4),
        true => (&CUDA[..], "2.5 GB", 12),
    };
    announce(&format!("downloading libtorch {VERSION} into .libtorch (about {size}, once)"));
    let options = any_python();
    let arguments = options.iter().map(String::as_str).chain(SLIM);
    let arguments: Vec<_> = arguments.chain(packages.iter().copied()).collect();
    python::install_into(&home, space, &arguments).with_context(|| {
        format!("no libtorch {VERSION} was downloaded; set LIBTORCH to use one of yours")
    })?;
    match version(&ours).as_deref() {
        Some(VERSION) => Ok(()),
        found => bail!("the download holds libtorch {found:?}, expected {VERSION}"),
    }
}

/// The version of a libtorch directory whose library is there too.
fn version(directory: &Path) -> Option<String> {
    directory.join("lib/libtorch_cpu.so").exists().then_some(())?;
    let headers =
        ["include/torch/headeronly/version.h", "include/torch/csrc/api/include/torch/version.h"];
    let header = headers.iter().find_map(|header| {
        let text = fs::read_to_string(directory.join(header)).ok()?;
        text.contains("define TORCH_VERSION_MAJOR").then_some(text)
    })?;
    let part = |name: &str| {
        let define = format!("#define TORCH_VERSION_{name} ");
        header.lines().find_map(|line| line.strip_prefix(&define)).map(str::trim)
    };
    Some(format!("{}.{}.{}", part("MAJOR")?, part("MINOR")?, part("PATCH")?))
}

/// The directory of a suitable PyTorch, found without importing it.
fn pytorch_of_active_environment() -> Option<PathBuf> {
    const FIND: &str = "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')";
    let python = python::interpreter().ok()?;
    let path = PathBuf::from(output(Command::new(python).args(["-c", FIND]))?);
    (version(&path).as_deref() == Some(VERSION)).then_some(path)
}

fn link(found: &Path, ours: &Path, whose: &str) -> Result<()> {
    let found = found.canonicalize().with_context(|| format!("cannot open {}", found.display()))?;
    if ours.canonicalize().is_ok_and(|current| current == found) {
        return Ok(());
    }
    if ours.is_dir() && !ours.is_symlink() {
        // An earlier download stays; the user's environment wins for cargo anyway.
        return Ok(());
    }
    let home = ours.parent().context("the link has a folder")?;
    fs::create_dir_all(home).with_context(|| format!("cannot create {}", home.display()))?;
    let _ = fs::remove_file(ours);
    std::os::unix::fs::symlink(&found, ours)
        .with_context(|| format!("cannot link {}", ours.display()))?;
    announce(&format!("using libtorch {VERSION} of {whose}, {}", found.display()));
    Ok(())
}
