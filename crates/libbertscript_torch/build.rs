//! Where the plug-in finds libtorch, and what it hides.

fn main() {
    let link = |argument: &str| println!("cargo:rustc-cdylib-link-arg=-Wl,{argument}");
    link("-soname,libbertscript_torch.so");
    // libtorch leaves threads behind that outlive a dlclose.
    link("-z,nodelete");
    // tch and zip export functions of theirs from whatever they are linked into.
    let hidden = concat!(env!("CARGO_MANIFEST_DIR"), "/hidden.map");
    println!("cargo:rerun-if-changed={hidden}");
    link(&format!("--version-script={hidden}"));
    // Where libtorch is on the machine that runs it, if that is another.
    println!("cargo:rerun-if-env-changed=BERTSCRIPT_TORCH_RPATH");
    link("-rpath,$ORIGIN");
    match std::env::var("BERTSCRIPT_TORCH_RPATH") {
        Ok(rpath) if rpath.is_empty() => {}
        Ok(rpath) => link(&format!("-rpath,{rpath}")),
        Err(_) => {
            if let Some(lib) = std::env::var_os("DEP_TCH_LIBTORCH_LIB") {
                link(&format!("-rpath,{}", lib.display()));
            }
        }
    }
}
