//! Files that are there whole or not at all.

use std::io::{self, Write as _};
use std::path::Path;

/// Writes `bytes` beside `path` and renames.
///
/// # Errors
/// Whatever the file system says; `path` is untouched then.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".bitnetc-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // An ordinary file's permissions, less the umask, instead of a private temporary's.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut beside = builder.tempfile_in(folder)?;
    beside.write_all(bytes)?;
    beside.persist(path).map_err(|e| e.error)?;
    Ok(())
}
