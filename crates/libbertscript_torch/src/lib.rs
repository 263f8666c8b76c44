//! The plug-in: bertscript with libtorch, behind one C function.

use bertscript::PluginAnswer;
use bertscript_plugin::Interface;
use std::ffi::CStr;

#[cfg(panic = "abort")]
compile_error!("a panic of libtorch's bindings must come back as an error");

const RELEASE: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(release) => release,
        Err(_) => panic!("a version has no NUL"),
    };

static INTERFACE: Interface = Interface::of::<PluginAnswer>(RELEASE);

/// What the library asks of the plug-in.
#[unsafe(no_mangle)]
pub extern "C" fn bertscript_torch_interface() -> *const Interface {
    &raw const INTERFACE
}

/// What the loader runs when it has loaded the library.
#[used]
#[unsafe(link_section = ".init_array")]
static ON_LOAD: extern "C" fn() = {
    extern "C" fn on_load() {
        PluginAnswer::send_panics_to_log();
    }
    on_load
};
