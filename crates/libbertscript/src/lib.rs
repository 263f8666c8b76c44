//! The shared library: every C function, under a name that stays.

pub use bertscript_ffi::*;

#[cfg(panic = "abort")]
compile_error!("an error must cross the C ABI as a value: this library has to be able to unwind");

/// What the loader runs when it has loaded the library, whose standard library,
/// and so whose panics, are its own.
#[used]
#[unsafe(link_section = ".init_array")]
static ON_LOAD: extern "C" fn() = {
    extern "C" fn on_load() {
        send_panics_to_log();
    }
    on_load
};
