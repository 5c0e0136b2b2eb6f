//! Executable scripts for tests.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes `#!/bin/sh` and `body` to `path`, executable.
///
/// A child writes the file: were it open for writing in this process, a concurrent test's fork could hold it open while it is executed, which
/// the kernel refuses (`ETXTBSY`).
pub(crate) fn script(path: &Path, body: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut child = Command::new("/bin/sh")
        .args(["-c", r#"cat >"$1" && chmod 755 "$1""#, "sh"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "#!/bin/sh\n{body}").unwrap();
    assert!(child.wait().unwrap().success());
}
