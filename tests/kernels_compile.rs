//! Kernels of bitnetc's own, compiled for both chips by the compiler that makes TT-NN's kernels. What the mock's stand-in takes for a kernel could
//! be anything.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// The compiled kernels below a folder: of each processor of a core, and each kernel once.
fn kernels(folder: &Path, found: &mut BTreeMap<String, Vec<u64>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            kernels(&path, found);
        } else if let Some(processor) = name.strip_suffix(".elf").filter(|name| !name.contains('.'))
            && path.components().any(|part| part.as_os_str() == "Kernel_Source_Code")
        {
            found.entry(processor.to_owned()).or_default().push(path.metadata().unwrap().len());
        }
    }
}

/// TT-NN compiles them, and takes programs of them, so their size is within its limits. Takes a minute where there is a compiler.
#[test]
fn own_kernels_compile_for_both_chips() {
    let Some(python) = std::env::var_os("BITNETC_SFPI_PYTHON") else {
        eprintln!("not tried: BITNETC_SFPI_PYTHON names no Python whose TT-NN has the compiler of its kernels, SFPI");
        return;
    };
    for target in ["n150", "p150"] {
        let cache = tempfile::tempdir().unwrap();
        let out = Command::new(env!("CARGO_BIN_EXE_bitnetc"))
            .args([
                "ttnn", "oracle", "--target", target, "--rule", "ternary", "--draws", "4", "--seed", "12", "--python",
            ])
            .arg(&python)
            .env("XDG_CACHE_HOME", cache.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{target}: {said}");
        let mut found = BTreeMap::new();
        kernels(cache.path(), &mut found);
        let processors: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(processors, ["brisc", "ncrisc", "trisc0", "trisc1", "trisc2"], "{target}");
        // The stand-in makes one kernel of everything.
        let mut sizes: Vec<u64> = found.values().flatten().copied().collect();
        sizes.sort_unstable();
        sizes.dedup();
        assert!(sizes.len() >= 5, "{target}: {sizes:?}, of the stand-in compiler");
    }
}
