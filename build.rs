//! Compiles the C++ shim in cpp/ together with the bridge that runtime/ttnn declares, and the stand-in for a mock card's command queue, a
//! shared library that the crate carries in itself.
//!
//! That crate runs it, by links to this file and to cpp/, so that both lie at the root of the repository and inside the crate's package.

use std::path::{Path, PathBuf};

fn main() {
    // Cargo runs a build script in the directory of the package being built.
    let shim = Path::new("cpp");
    let mut build = cxx_build::bridge("bridge.rs");
    build
        .include(shim)
        .files(["python_api.cpp", "shim.cpp"].map(|file| shim.join(file)))
        .std("c++17")
        .flag_if_supported("-Wall")
        .flag_if_supported("-Wextra")
        .compile("bitnetc_ttnn_shim");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let mut library = build.get_compiler().to_command();
    library.args(["-shared", "-fPIC", "-o"]).arg(out.join("queue.so")).arg(shim.join("queue.cpp")).arg("-ldl");
    let built = library.status();
    assert!(built.as_ref().is_ok_and(|status| status.success()), "{library:?}: {built:?}");
    println!("cargo::rerun-if-changed=bridge.rs");
    println!("cargo::rerun-if-changed=cpp");
    // dlopen lives in libdl before glibc 2.34.
    println!("cargo::rustc-link-lib=dl");
}
