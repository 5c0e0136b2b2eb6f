//! Where `-o` points: a file, by the rules of [`mod@bitnetc_runtime::file`], or `-` for stdout.

use std::path::Path;

use bitnetc_runtime::file;
use miette::{IntoDiagnostic, WrapErr};

use crate::{input, render};

/// True for `-`.
pub fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Writes `text` to a file or to stdout.
///
/// # Errors
/// Any error of the file system or of stdout, after which a file at `path` is as it was before.
pub fn write_text(path: &Path, text: &str) -> miette::Result<()> {
    if is_stdout(path) { render::print(text).map_err(input::cannot_print) } else { write(path, text.as_bytes()) }
}

/// Writes `bytes` to a file.
///
/// # Errors
/// Any error of the file system, after which a file at `path` is as it was before.
pub fn write(path: &Path, bytes: &[u8]) -> miette::Result<()> {
    file::write(path, bytes).into_diagnostic().wrap_err_with(|| format!("cannot write {}", path.display()))
}
