//! Files that are there whole or not at all.

use std::io::{self, Write as _};
use std::path::Path;

/// Writes `bytes` beside `path` and renames.
///
/// # Errors
/// Whatever the file system says; `path` is untouched then.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut beside = tempfile::Builder::new().prefix(".bitnetc-").tempfile_in(folder)?;
    beside.write_all(bytes)?;
    beside.persist(path).map_err(|e| e.error)?;
    Ok(())
}
