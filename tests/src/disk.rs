//! A disk that fails when it is told to: `c/disk_faults.c`, for commands and for
//! the test itself.

use std::ffi::{CString, OsStr, c_char, c_int, c_long, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What happens at one call of the system, among those on the files of a folder.
#[derive(Debug, Clone, Copy)]
pub struct Fault<'a> {
    /// Whose files, from the root.
    pub folder: &'a Path,
    /// Which calls count: `writes` or `reads`.
    pub calls: &'a str,
    /// The number of the call, from 1; 0 for none.
    pub at: usize,
    /// One of those that `disk_fault` knows.
    pub kind: &'a str,
}

/// The library that makes faults, compiled.
pub struct Disk(tempfile::TempDir);

impl Disk {
    /// Compiles it.
    pub fn build() -> Self {
        let disk = Self(crate::scratch());
        let output = Command::new("cc")
            .args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-shared", "-fPIC"])
            .arg("-o")
            .arg(disk.library())
            .arg(crate::root().join("tests/c/disk_faults.c"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        disk
    }

    fn library(&self) -> PathBuf {
        self.0.path().join("disk_faults.so")
    }

    /// Runs a command on such a disk, and tells which calls there were: `write PATH`.
    pub fn run(&self, command: &mut Command, fault: &Fault<'_>) -> (Output, Vec<String>) {
        let log = tempfile::NamedTempFile::new_in(self.0.path()).unwrap();
        let output = command
            .env("LD_PRELOAD", self.library())
            .env("FAULT_FOLDER", fault.folder)
            .env("FAULT_CALLS", fault.calls)
            .env("FAULT_AT", fault.at.to_string())
            .env("FAULT_KIND", fault.kind)
            .env("FAULT_LOG", log.path())
            .output()
            .unwrap();
        let calls = std::fs::read_to_string(log.path()).unwrap();
        (output, calls.lines().map(str::to_owned).collect())
    }

    /// Loads it into this process.
    pub fn load(&self) -> Faults {
        let path = CString::new(self.library().as_os_str().as_bytes()).unwrap();
        let symbol = |library, name: &std::ffi::CStr| {
            // SAFETY: the library is loaded, and stays so.
            let symbol = unsafe { dlsym(library, name.as_ptr()) };
            assert!(!symbol.is_null(), "{name:?}");
            symbol
        };
        // SAFETY: what the library does when it is loaded depends on the environment alone; the
        // types are those that it defines.
        unsafe {
            let library = dlopen(path.as_ptr(), RTLD_NOW);
            assert!(!library.is_null());
            Faults {
                fault: std::mem::transmute::<*mut c_void, FaultFn>(symbol(library, c"disk_fault")),
                calls: std::mem::transmute::<*mut c_void, CallsFn>(symbol(library, c"disk_calls")),
            }
        }
    }
}

type FaultFn = unsafe extern "C" fn(*const c_char, *const c_char, c_long, *const c_char);
type CallsFn = unsafe extern "C" fn() -> c_long;
const RTLD_NOW: c_int = 2;

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// Faults for calls of this thread, and of those that it starts from now on. It can
/// run no other program any more.
pub struct Faults {
    fault: FaultFn,
    calls: CallsFn,
}

impl Faults {
    /// What `work` returns with a fault, and whether it happened.
    pub fn during<T>(&self, fault: &Fault<'_>, work: impl FnOnce() -> T) -> (T, bool) {
        let text = |text: &OsStr| CString::new(text.as_bytes()).unwrap();
        let set = |folder: &OsStr, at: usize| {
            let (folder, calls, kind) =
                (text(folder), text(fault.calls.as_ref()), text(fault.kind.as_ref()));
            // SAFETY: the texts live for the call.
            unsafe {
                (self.fault)(folder.as_ptr(), calls.as_ptr(), at as c_long, kind.as_ptr());
            }
        };
        set(fault.folder.as_os_str(), fault.at);
        let found = work();
        // SAFETY: it reads a number.
        let happened = unsafe { (self.calls)() } >= fault.at as c_long;
        set(OsStr::new(""), 0);
        (found, happened)
    }
}
