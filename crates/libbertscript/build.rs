//! The name under which programs ask for the library, and that it stays.

fn main() {
    let part = |name: &str| std::env::var(format!("CARGO_PKG_VERSION_{name}")).unwrap_or_default();
    // While the major version is 0, a minor one may break the interface.
    let version = match part("MAJOR").as_str() {
        "0" => format!("0.{}", part("MINOR")),
        major => major.to_owned(),
    };
    let link = |argument: &str| println!("cargo:rustc-cdylib-link-arg=-Wl,{argument}");
    link(&format!("-soname,libbertscript.so.{version}"));
    // The threads of its pool outlive a dlclose.
    link("-z,nodelete");
}
