//! Writing to the path a person names: a file is replaced whole or left as it was, and a link, pipe or device stays what it is.
//!
//! Libraries that replace files atomically rename over whatever the path names, which would turn a link or a pipe into a file; so only
//! the temporary file beside the path is [`tempfile`]'s.
//!
//! | the path names | then |
//! |---|---|
//! | nothing yet | the bytes go into a file without a name, which gets the name at the end; permissions as the umask leaves them |
//! | a regular file | likewise, if it may be written; its permissions stay |
//! | a symbolic link | the same for what it points to, there or not; the link stays |
//! | a pipe, a terminal, a device | the bytes go straight into it |
//! | a directory | an error |
//!
//! A file without a name (`O_TMPFILE`) goes away with the program, even one that is killed. Where the file system has none, the bytes go
//! into a file beside the path, `.bitnetc-` and six letters, which a killed program leaves behind; the next write into the folder removes
//! it. A program holds a lock on its own such file, and the system releases the lock when the program ends, so that one is told from the other.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    /// To be given the path's name.
    #[cfg(target_os = "linux")]
    Nameless(File, PathBuf),
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
        let folder = real.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        remove_stale(&folder);
        let output = Output(open_in(&folder, real)?);
        if let Some(permissions) = permissions {
            output.as_file().set_permissions(permissions)?;
        }
        Ok(output)
    }

    /// A file that is to be `path`, written in `folder` of the same file system until then; what `path` names is replaced.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn create_in(folder: &Path, path: PathBuf) -> io::Result<Self> {
        open_in(folder, path).map(Output)
    }

    /// The file that receives the bytes. A pipe cannot seek.
    pub fn as_file(&self) -> &File {
        match &self.0 {
            #[cfg(target_os = "linux")]
            Target::Nameless(file, _) => file,
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
            #[cfg(target_os = "linux")]
            Target::Nameless(file, path) => {
                file.sync_all()?;
                nameless::name(&file, &path)
            }
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

/// Something in `folder` to write into before it becomes `path`.
fn open_in(folder: &Path, path: PathBuf) -> io::Result<Target> {
    #[cfg(target_os = "linux")]
    if let Some(file) = nameless::open(folder) {
        return Ok(Target::Nameless(file, path));
    }
    Ok(Target::Beside(beside(folder)?, path))
}

/// How the names of files that are being written begin.
const PREFIX: &str = ".bitnetc-";

/// An ordinary file's permissions, less the umask, instead of a private temporary's; and errors that do not tell its name. It is locked.
fn beside(folder: &Path) -> io::Result<NamedTempFile> {
    let file = tempfile::Builder::new().prefix(PREFIX).make_in(folder, |path| File::create_new(path))?;
    // A file system without locks keeps the age alone to tell a stale file by.
    let _ = file.as_file().lock();
    Ok(file)
}

/// Removes what programs that were killed left in a folder. Whatever cannot be looked at or removed stays.
fn remove_stale(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if ours.is_some_and(|rest| rest.len() == 6 && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
            && is_stale(&entry)
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Time in which a program locks the file that it has made.
const LOCKED_AFTER: Duration = Duration::from_secs(60);

/// True for a regular file that no program has locked and that is not brand-new.
fn is_stale(entry: &fs::DirEntry) -> bool {
    let Ok(metadata) = entry.metadata() else { return false };
    let old = metadata.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LOCKED_AFTER));
    // The type comes first: opening a pipe would wait.
    metadata.is_file() && old && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok())
}

/// Files without a name.
#[cfg(target_os = "linux")]
mod nameless {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd as _;
    use std::path::{Path, PathBuf};

    use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open as open_file};

    /// Where the system shows a program its open files: a nameless one can be named from there only.
    const OPEN_FILES: &str = "/proc/self/fd";

    /// A new file in `folder`, or none where the file system has no such files.
    pub fn open(folder: &Path) -> Option<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = open_file(folder, flags, Mode::from_raw_mode(0o666)).ok()?;
        let file = File::from(file);
        path_of(&file).exists().then_some(file)
    }

    fn path_of(file: &File) -> PathBuf {
        Path::new(OPEN_FILES).join(file.as_raw_fd().to_string())
    }

    /// Gives the file a path. A file that is there is replaced by renaming over it, which needs a second name for a moment.
    pub fn name(file: &File, path: &Path) -> io::Result<()> {
        let link = |to: &Path| -> io::Result<()> { Ok(linkat(CWD, path_of(file), CWD, to, AtFlags::SYMLINK_FOLLOW)?) };
        match link(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            done => return done,
        }
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let linked = tempfile::Builder::new().prefix(super::PREFIX).make_in(folder, link)?;
        linked.persist(path).map(drop).map_err(|e| e.error)
    }
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
    fn a_file_that_is_being_written_has_no_name_or_is_locked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let output = Output::create(&path).unwrap();
        if matches!(output.0, Target::Nameless(..)) {
            assert_eq!(entries(folder.path()), 0, "a killed program would leave it");
        }
        drop(output);
        let named = beside(folder.path()).unwrap();
        assert!(File::open(named.path()).unwrap().try_lock().is_err());
    }

    #[test]
    fn what_killed_programs_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        let names = [
            ".bitnetc-Ab12Cd",
            ".bitnetc-notes.txt",
            ".bitnetc-ab12",
            "bitnetc-Ab12Cd",
            ".bitnetc-Zz99Zz",
            ".bitnetc-dirdir",
        ];
        for name in &names[..5] {
            File::create(at(name)).unwrap().set_modified(hour_ago).unwrap();
        }
        fs::create_dir(at(names[5])).unwrap();
        fs::write(at(".bitnetc-newnew"), "x").unwrap();
        let written = File::open(at(".bitnetc-Zz99Zz")).unwrap();
        written.lock().unwrap();
        write(&at("file"), b"x").unwrap();
        assert!(!at(".bitnetc-Ab12Cd").exists());
        assert!(names[1..].iter().all(|name| at(name).exists()) && at(".bitnetc-newnew").exists());
        drop(written);
        write(&at("file"), b"y").unwrap();
        assert!(!at(".bitnetc-Zz99Zz").exists());
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
