//! Compiles the C++ shim in cpp/ together with the bridge that runtime/ttnn declares.
//!
//! That crate runs it, by links to this file and to cpp/, so that both lie at the root of the repository and inside the crate's package.

fn main() {
    // Cargo runs a build script in the directory of the package being built.
    let shim = std::path::Path::new("cpp");
    cxx_build::bridge("bridge.rs")
        .include(shim)
        .files(["python_api.cpp", "shim.cpp"].map(|file| shim.join(file)))
        .std("c++17")
        .flag_if_supported("-Wall")
        .flag_if_supported("-Wextra")
        .compile("bitnetc_ttnn_shim");
    println!("cargo::rerun-if-changed=bridge.rs");
    println!("cargo::rerun-if-changed=cpp");
    // dlopen lives in libdl before glibc 2.34.
    println!("cargo::rustc-link-lib=dl");
}
