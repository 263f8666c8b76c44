//! Finding and loading the plug-in.

use crate::context::{current_log, current_stream};
use crate::dlpack::ManagedTensor;
use crate::interface::{ENTRY, Entry, Interface, Reply, Request, VERSION, bytes, taken};
use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{CStr, OsStr};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The file name of the plug-in.
pub const LIBRARY: &str = "libbertscript_torch.so";
/// The variable that names it, or the folder that it is in.
const VARIABLE: &str = "BERTSCRIPT_TORCH";
/// The libtorch that the plug-in is linked to.
pub const TORCH_VERSION: &str = "2.11.0";
/// Where systems have libraries, from `bin`.
const FOLDERS: [&str; 3] = ["../lib", "../lib64", MULTIARCH];
const MULTIARCH: &str = match cfg!(target_arch = "aarch64") {
    true => "../lib/aarch64-linux-gnu",
    false => "../lib/x86_64-linux-gnu",
};
/// What two versions of it share.
const TORCH_LIBRARY: &str = "libtorch_cpu.so";

/// A plug-in that was loaded. It stays, as libtorch has to.
#[derive(Debug)]
pub struct Plugin {
    interface: &'static Interface,
    path: PathBuf,
}

/// Why there is no plug-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotLoaded(String);

impl fmt::Display for NotLoaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotLoaded {}

static LOADED: OnceLock<Plugin> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

impl Plugin {
    /// The plug-in, if it was loaded before.
    pub fn loaded() -> Option<&'static Self> {
        LOADED.get()
    }

    /// Loads the plug-in, once: from the file that `BERTSCRIPT_TORCH` names, if it is set; or from
    /// beside this library or program, for a program in `bin` from `lib`, `lib64` or
    /// `lib/x86_64-linux-gnu` beside that or from the Python package `bertscript` below them, or from
    /// where the system looks for libraries.
    ///
    /// # Errors
    /// Where it was looked for; what the system says of a file that does not load, such as the
    /// library of libtorch that it lacks; a plug-in of another release; a libtorch of another
    /// version that the process has loaded, with both versions.
    pub fn load(release: &str) -> Result<&'static Self, NotLoaded> {
        if let Some(plugin) = LOADED.get() {
            return Ok(plugin);
        }
        let _once = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plugin) = LOADED.get() {
            return Ok(plugin);
        }
        check_torch()?;
        let path = find()?;
        // SAFETY: what a plug-in runs when it is loaded is libtorch's initialisation, for which
        // the process is in any state; whoever names a file vouches for it.
        let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
        // What the system says names the file.
        let library = library.map_err(|error| {
            let said = std::error::Error::source(&error).map(ToString::to_string);
            let said = said.unwrap_or_else(|| error.to_string());
            NotLoaded(match path.is_absolute() {
                true => format!("the plug-in does not load: {said}"),
                false => format!(
                    "{LIBRARY} is not beside this library, nor where the system looks for libraries; install it there, or name it by {VARIABLE} ({said})"
                ),
            })
        })?;
        let unfit = |found: &str, expected: &str| {
            let path = path.display();
            Err(NotLoaded(format!("{path}: found {found}, expected {expected}")))
        };
        // SAFETY: the function of this name has this type, by the name's contract.
        let Ok(entry) = (unsafe { library.get::<Entry>(ENTRY.to_bytes_with_nul()) }) else {
            return unfit("a library without bertscript_torch_interface", "bertscript's plug-in");
        };
        // SAFETY: as above.
        let interface = unsafe { entry() };
        if interface.is_null() {
            return unfit("no interface", "that of bertscript's plug-in");
        }
        // SAFETY: every version begins with this field.
        let version = unsafe { (&raw const (*interface).version).read() };
        if version != VERSION {
            return unfit(&format!("version {version} of the interface"), &VERSION.to_string());
        }
        // SAFETY: of this version, it is what it is; the library is never unloaded, so it stays.
        let interface: &'static Interface = unsafe { &*interface };
        // SAFETY: as above, a live text.
        let found = unsafe { CStr::from_ptr(interface.release) }.to_string_lossy();
        if found != release {
            return unfit(&format!("the plug-in of bertscript {found}"), release);
        }
        // The system may have found another than the plug-in was built with.
        check_torch()?;
        std::mem::forget(library);
        Ok(LOADED.get_or_init(|| Self { interface, path }))
    }

    /// The file that it is in; a name alone where the system found it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Asks it, on the stream that this thread is on ([`OnStream`](crate::OnStream)).
    pub fn call(&self, request: &str, tensors: Vec<ManagedTensor>) -> (String, Vec<ManagedTensor>) {
        let tensors: Vec<_> = tensors.into_iter().map(|given| given.into_raw().as_ptr()).collect();
        let stream = current_stream();
        let request = Request {
            text: request.as_ptr().cast(),
            length: request.len(),
            tensors: tensors.as_ptr(),
            count: tensors.len(),
            stream: stream.as_ref().map_or(std::ptr::null(), std::ptr::from_ref),
            log: current_log(),
        };
        let mut reply = Reply {
            text: std::ptr::null(),
            length: 0,
            tensors: std::ptr::null(),
            count: 0,
            owner: std::ptr::null_mut(),
            release: None,
        };
        // SAFETY: both are live for the call, which takes the tensors, and gives those of the
        // reply away; its arrays are live until `release`.
        unsafe {
            (self.interface.call)(&raw const request, &raw mut reply);
            let text = String::from_utf8_lossy(bytes(reply.text, reply.length)).into_owned();
            let tensors = taken(reply.tensors, reply.count);
            if let Some(release) = reply.release {
                release(reply.owner);
            }
            (text, tensors)
        }
    }
}

/// The file to load.
fn find() -> Result<PathBuf, NotLoaded> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        let named = std::path::absolute(&named).unwrap_or_else(|_| PathBuf::from(&named));
        let file = if named.is_dir() { named.join(LIBRARY) } else { named };
        return match file.is_file() {
            true => Ok(file),
            false => {
                let file = file.display();
                Err(NotLoaded(format!("{file}, which {VARIABLE} names, is not a file")))
            }
        };
    }
    let here = here();
    let beside = here.iter().flat_map(|here| {
        // A program of an installed tree: elsewhere, `..` may be anybody's.
        let bin = here.ends_with("bin").then_some(here);
        let folders = bin.into_iter().flat_map(|bin| FOLDERS.map(|folder| bin.join(folder)));
        std::iter::once(here.clone())
            .chain(folders)
            .chain(bin.into_iter().flat_map(|bin| python_packages(bin)))
            .map(|folder| folder.join(LIBRARY))
    });
    let found = beside.into_iter().find(|file| file.is_file());
    Ok(found.unwrap_or_else(|| PathBuf::from(LIBRARY)))
}

/// The library folders of Python's package `bertscript` in the environment of a `bin`: a wheel installs
/// the command there, and the plug-in beside the library, in a directory named for Python's version.
fn python_packages(bin: &Path) -> Vec<PathBuf> {
    let mut versions: Vec<_> = ["../lib", "../lib64"]
        .iter()
        .filter_map(|lib| std::fs::read_dir(bin.join(lib)).ok())
        .flat_map(|entries| entries.filter_map(Result::ok))
        .filter(|entry| entry.file_name().as_bytes().starts_with(b"python3"))
        .map(|entry| entry.path())
        .collect();
    // The same order every time: a directory may have several versions.
    versions.sort();
    // A plug-in of another release would be refused, and the right one not looked for.
    let release = concat!("bertscript_torch-", env!("CARGO_PKG_VERSION"), ".dist-info");
    // Debian has another name for what it did not package itself.
    let packages = ["site-packages", "dist-packages"];
    let packages = versions.iter().flat_map(|version| packages.map(|name| version.join(name)));
    let packages = packages.filter(|packages| packages.join(release).is_dir());
    packages.map(|packages| packages.join("bertscript/lib")).collect()
}

/// The folder of the library or the program that this is linked into: of the file that the code
/// is mapped from, by whatever name it was asked for.
fn here() -> Option<PathBuf> {
    let place: fn() -> Option<PathBuf> = here;
    let maps = std::fs::read("/proc/self/maps").ok()?;
    let file = maps.split(|byte| *byte == b'\n').find_map(|line| {
        let range = line.split(|byte| *byte == b' ').next()?;
        let (start, end) = std::str::from_utf8(range).ok()?.split_once('-')?;
        let [start, end] = [start, end].map(|text| usize::from_str_radix(text, 16));
        (start.ok()?..end.ok()?).contains(&(place as usize)).then_some(())?;
        let path = &line[line.iter().position(|byte| *byte == b'/')?..];
        Some(PathBuf::from(OsStr::from_bytes(path)))
    });
    file?.parent().map(Path::to_owned)
}

/// Refuses another libtorch in the process, to which the plug-in would be bound, or is.
fn check_torch() -> Result<(), NotLoaded> {
    /// That of `aoti_torch_abi_version`: the parts of the version, from the highest byte.
    type Version = unsafe extern "C" fn() -> u64;
    // SAFETY: nothing is loaded, and so nothing is run.
    let library =
        unsafe { Library::open(Some(TORCH_LIBRARY), RTLD_LAZY | RTLD_LOCAL | libc::RTLD_NOLOAD) };
    let Ok(library) = library else { return Ok(()) };
    // SAFETY: libtorch's function, which takes nothing.
    let found = match unsafe { library.get::<Version>(b"aoti_torch_abi_version\0") } {
        Ok(version) => {
            // SAFETY: as above.
            let parts = unsafe { version() }.to_be_bytes();
            parts[..3].iter().map(u8::to_string).collect::<Vec<_>>().join(".")
        }
        Err(_) => stated_version().unwrap_or_else(|| "of an unknown version".to_owned()),
    };
    match found == TORCH_VERSION {
        true => Ok(()),
        false => {
            let message =
                format!("the process has loaded libtorch {found}, expected {TORCH_VERSION}");
            Err(NotLoaded(message))
        }
    }
}

/// What stands beside a libtorch that is too old to say its version.
fn stated_version() -> Option<String> {
    let maps = std::fs::read("/proc/self/maps").ok()?;
    let maps = String::from_utf8_lossy(&maps);
    let line = maps.lines().find(|line| line.ends_with(TORCH_LIBRARY))?;
    let folder = Path::new(&line[line.find('/')?..]).parent()?.parent()?;
    if let Ok(version) = std::fs::read_to_string(folder.join("build-version")) {
        return Some(version.trim().to_owned());
    }
    let text = std::fs::read_to_string(folder.join("version.py")).ok()?;
    let version = text.lines().find_map(|line| line.strip_prefix("__version__ = "))?;
    Some(version.trim_matches(['\'', '"']).to_owned())
}
