//! Writing to the path a person names: a file is replaced whole or left as it was, and a link, pipe or device stays what it is.
//!
//! Libraries that replace files atomically rename over whatever the path names, which would turn a link or a pipe into a file; so only
//! the temporary file beside the path is [`tempfile`]'s.
//!
//! | the path names | then |
//! |---|---|
//! | nothing yet | the bytes go beside it and are renamed; permissions as the umask leaves them |
//! | a regular file | likewise, if it may be written; its permissions stay |
//! | a symbolic link | the same for what it points to, there or not; the link stays |
//! | a pipe, a terminal, a device | the bytes go straight into it |
//! | a directory | an error |

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Links followed to a file that is not there; Linux gives up after as many.
const MOST_LINKS: usize = 40;

/// Writes `bytes` to `path`.
///
/// # Errors
/// Any error of the file system, after which a file at `path` is as it was before.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut output = Output::create(path)?;
    output.write_all(bytes)?;
    output.finish()
}

/// Something being written; without [`Output::finish`] a file is left as it was.
#[derive(Debug)]
pub struct Output(Target);

#[derive(Debug)]
enum Target {
    /// To be renamed to the path.
    Beside(NamedTempFile, PathBuf),
    Direct(File),
}

impl Output {
    /// Opens what `path` names, which for a pipe waits for a reader.
    ///
    /// # Errors
    /// Any error of the file system: `path` is a directory or in none, or may not be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        let permissions = match fs::metadata(path) {
            Ok(there) if there.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(there) => {
                // Without truncating it: this only asks whether it may be written.
                let file = OpenOptions::new().write(true).open(path)?;
                if !there.is_file() {
                    return Ok(Output(Target::Direct(file)));
                }
                Some(there.permissions())
            }
            Err(_) => None,
        };
        let real = resolve(path)?;
        let folder = real.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let beside = beside(folder)?;
        if let Some(permissions) = permissions {
            beside.as_file().set_permissions(permissions)?;
        }
        Ok(Output(Target::Beside(beside, real)))
    }

    /// The file that receives the bytes. A pipe cannot seek.
    pub fn as_file(&self) -> &File {
        match &self.0 {
            Target::Beside(beside, _) => beside.as_file(),
            Target::Direct(file) => file,
        }
    }

    /// Puts a file in its place, once its bytes are on the disk.
    ///
    /// # Errors
    /// Any error of the file system, after which a file at the path is as it was before.
    pub fn finish(self) -> io::Result<()> {
        match self.0 {
            Target::Beside(beside, path) => {
                beside.as_file().sync_all()?;
                beside.persist(path).map_err(|e| e.error)?;
                Ok(())
            }
            Target::Direct(mut file) => file.flush(),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.as_file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.as_file().flush()
    }
}

impl io::Seek for Output {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.as_file().seek(to)
    }
}

/// An ordinary file's permissions, less the umask, instead of a private temporary's; and errors that do not tell its name.
fn beside(folder: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".bitnetc-").make_in(folder, |path| File::create_new(path))
}

/// The path without links, followed to a file that need not be there.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::canonicalize(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let Ok(target) = fs::read_link(&path) else { return Ok(path) };
        path = path.parent().map_or_else(|| target.clone(), |folder| folder.join(&target));
    }
    Err(io::Error::other("too many symbolic links"))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn entries(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_file_is_made_and_replaced_with_the_permissions_of_any_other() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, other) = (folder.path().join("ours"), folder.path().join("other"));
        fs::write(&other, "x").unwrap();
        write(&ours, b"one").unwrap();
        assert_eq!(mode(&ours), mode(&other));
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o640)).unwrap();
        write(&ours, b"two").unwrap();
        assert_eq!((fs::read(&ours).unwrap().as_slice(), mode(&ours)), (&b"two"[..], 0o640));
        assert_eq!(entries(folder.path()), 2, "nothing is left beside them");
    }

    #[test]
    fn what_is_not_finished_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "old").unwrap();
        let mut output = Output::create(&path).unwrap();
        output.write_all(b"half of the new").unwrap();
        drop(output);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(entries(folder.path()), 1);
    }

    #[test]
    fn a_link_stays_and_what_it_points_to_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("elsewhere")).unwrap();
        fs::write(at("elsewhere/there"), "old").unwrap();
        for (link, target) in [("a", "elsewhere/there"), ("b", "elsewhere/new"), ("c", "d"), ("d", "elsewhere/newer")] {
            symlink(target, at(link)).unwrap();
        }
        for (link, target) in [("a", "elsewhere/there"), ("b", "elsewhere/new"), ("c", "elsewhere/newer")] {
            write(&at(link), link.as_bytes()).unwrap();
            assert!(at(link).is_symlink());
            assert_eq!(fs::read(at(target)).unwrap(), link.as_bytes());
        }
        symlink("round", at("round")).unwrap();
        assert!(write(&at("round"), b"x").is_err() && at("round").is_symlink());
        assert_eq!((entries(folder.path()), entries(&at("elsewhere"))), (6, 3));
    }

    #[test]
    fn a_pipe_is_written_into() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [pipe.clone(), folder.path().join("link")] {
            if path != pipe {
                symlink(&pipe, &path).unwrap();
            }
            let reader = std::thread::spawn({
                let pipe = pipe.clone();
                move || fs::read(pipe).unwrap()
            });
            write(&path, b"through").unwrap();
            assert_eq!(reader.join().unwrap(), b"through");
            assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
        }
    }

    #[test]
    fn what_cannot_be_written_is_told_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let kind = |path: &Path| write(path, b"x").unwrap_err().kind();
        assert_eq!(kind(folder.path()), io::ErrorKind::IsADirectory);
        let missing = write(&folder.path().join("no/such/file"), b"x").unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert!(!missing.to_string().contains(".bitnetc-"), "{missing}");
        assert_eq!(kind(&folder.path().join("")), io::ErrorKind::IsADirectory);
        // Not even root makes files there.
        assert!(write(Path::new("/proc/bitnetc"), b"x").is_err());
        let (locked, file) = (folder.path().join("locked"), folder.path().join("locked/file"));
        fs::create_dir(&locked).unwrap();
        fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
        // Root may write everywhere.
        if File::create(&file).is_err() {
            assert_eq!(kind(&file), io::ErrorKind::PermissionDenied);
        }
        fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(entries(folder.path()), 1);
    }
}
