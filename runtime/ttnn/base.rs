//! Finding a Python on the user's machine that a TT-NN environment can be made from.
//!
//! Looked at, in this order: `--python`, names on `PATH`, pyenv's versions, uv's, the system's directories. The first that is a
//! version TT-NN has a wheel for, has a shared libpython and can make virtual environments is taken. A name on `PATH` may be a shim that answers with an error; that
//! is one more reason to pass over it, not a failure.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bitnetc_plan::TtnnRelease;

use crate::environment::{EnvironmentDefect, Facts, path_directories};

/// A place where interpreters are kept, as found on this machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    /// The interpreter the user named; then nothing else is looked at.
    pub named: Option<PathBuf>,
    /// Directories of `PATH`.
    pub path: Vec<PathBuf>,
    /// `$PYENV_ROOT` and `~/.pyenv`.
    pub pyenv: Vec<PathBuf>,
    /// uv's directory of managed interpreters.
    pub uv: Vec<PathBuf>,
    /// Directories that hold interpreters even when `PATH` does not name them.
    pub system: Vec<PathBuf>,
}

impl Places {
    /// This process's surroundings.
    pub fn of_this_machine(named: Option<&Path>) -> Places {
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let home = variable("HOME");
        let below_home = |path: &str| home.as_ref().map(|home| home.join(path));
        let data = variable("XDG_DATA_HOME").or_else(|| below_home(".local/share"));
        Places {
            named: named.map(Path::to_owned),
            path: path_directories(std::env::var_os("PATH").as_deref()),
            pyenv: [variable("PYENV_ROOT"), below_home(".pyenv")].into_iter().flatten().collect(),
            uv: [variable("UV_PYTHON_INSTALL_DIR"), data.map(|data| data.join("uv/python"))]
                .into_iter()
                .flatten()
                .collect(),
            system: ["/usr/bin", "/usr/local/bin"].map(PathBuf::from).to_vec(),
        }
    }

    /// Every interpreter that exists here, best guess for `release` first.
    fn candidates(&self, release: &TtnnRelease) -> Vec<PathBuf> {
        if let Some(named) = &self.named {
            return vec![named.clone()];
        }
        let exact: Vec<_> = release.python.iter().map(|(major, minor)| format!("python{major}.{minor}")).collect();
        let mut found = Vec::new();
        for name in exact.iter().map(String::as_str).chain(["python3", "python"]) {
            found.extend(self.path.iter().map(|dir| dir.join(name)));
        }
        for (major, minor) in release.python {
            for root in &self.pyenv {
                found.extend(installed(&root.join("versions"), &format!("{major}.{minor}.")));
            }
            for root in &self.uv {
                found.extend(installed(root, &format!("cpython-{major}.{minor}.")));
            }
        }
        found.extend(exact.iter().flat_map(|name| self.system.iter().map(move |dir| dir.join(name))));
        found.retain(|path| path.is_file());
        found
    }

    /// The interpreter to make an environment for `release` from.
    ///
    /// # Errors
    /// Every interpreter looked at, with what it lacks.
    pub fn choose(&self, release: &'static TtnnRelease) -> Result<PathBuf, Vec<(PathBuf, BaseDefect)>> {
        let mut refused = Vec::new();
        let mut seen = HashSet::new();
        for candidate in self.candidates(release) {
            // Shims are all one file, told apart by the name they are called by: only real interpreters are looked at once.
            let file = candidate.canonicalize().unwrap_or_else(|_| candidate.clone());
            if !seen.insert((file, candidate.file_name().map(ToOwned::to_owned))) {
                continue;
            }
            match check(&candidate, release) {
                Ok(()) => return Ok(candidate),
                Err(defect) => refused.push((candidate, defect)),
            }
        }
        Err(refused)
    }
}

/// Why no environment can be made from an interpreter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaseDefect {
    /// It could not be embedded either.
    #[error("{0}")]
    Unusable(EnvironmentDefect),
    /// `venv` or `ensurepip` is missing, as on Debian without `python3-venv`.
    #[error("cannot make virtual environments: install its venv module (on Debian python{0}.{1}-venv)")]
    NoVenv(u32, u32),
}

fn check(executable: &Path, release: &'static TtnnRelease) -> Result<(), BaseDefect> {
    let facts = Facts::of(executable).map_err(BaseDefect::Unusable)?;
    facts.check_version(release).map_err(BaseDefect::Unusable)?;
    facts.libpython().map_err(BaseDefect::Unusable)?;
    if !facts.has_venv {
        return Err(BaseDefect::NoVenv(facts.version.0, facts.version.1));
    }
    Ok(())
}

/// `bin/python3` of every directory below `root` whose name starts with `prefix`, newest patch release first.
fn installed(root: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    let patch = |name: &str| {
        name[prefix.len()..].split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse::<u32>().ok())
    };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let patch = name.starts_with(prefix).then(|| patch(&name))??;
            Some((patch, entry.path().join("bin/python3")))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_script::script;

    fn python(path: PathBuf, version: (u32, u32), shared: bool, venv: bool) -> PathBuf {
        let dir = path.parent().unwrap().to_owned();
        let answer = serde_json::json!({
            "version": version, "site_packages": dir, "ttnn": null, "has_venv": venv,
            "library_directories": [dir], "library_names": [if shared { "libpython.so" } else { "absent.so" }],
        });
        script(&path, &format!("echo '{answer}'"));
        std::fs::write(dir.join("libpython.so"), "").unwrap();
        path
    }

    #[test]
    fn a_failing_shim_is_passed_over_for_a_pyenv_version() {
        let dir = tempfile::tempdir().unwrap();
        script(&dir.path().join("shims/python3.10"), "echo 'pyenv: python3.10: command not found' >&2; exit 127");
        let old = python(dir.path().join("pyenv/versions/3.10.9/bin/python3"), (3, 10), true, true);
        let new = python(dir.path().join("pyenv/versions/3.10.13/bin/python3"), (3, 10), true, true);
        let places =
            Places { path: vec![dir.path().join("shims")], pyenv: vec![dir.path().join("pyenv")], ..Places::default() };
        assert_eq!(places.choose(TtnnRelease::latest()).unwrap(), new);
        std::fs::remove_file(new).unwrap();
        assert_eq!(places.choose(TtnnRelease::latest()).unwrap(), old);
    }

    #[test]
    fn an_interpreter_with_a_shared_library_is_preferred_to_an_earlier_one_without() {
        let dir = tempfile::tempdir().unwrap();
        python(dir.path().join("bin/python3.10"), (3, 10), false, true);
        let uv = python(dir.path().join("uv/cpython-3.12.4-linux-x86_64-gnu/bin/python3"), (3, 12), true, true);
        let places =
            Places { path: vec![dir.path().join("bin")], uv: vec![dir.path().join("uv")], ..Places::default() };
        assert_eq!(places.choose(TtnnRelease::latest()).unwrap(), uv);
    }

    #[test]
    fn every_refusal_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        python(dir.path().join("a/python3"), (3, 11), true, true);
        python(dir.path().join("b/python3.12"), (3, 12), true, false);
        python(dir.path().join("c/python3.10"), (3, 10), false, true);
        let places = Places { path: ["a", "b", "c"].map(|d| dir.path().join(d)).to_vec(), ..Places::default() };
        let refused = places.choose(TtnnRelease::latest()).unwrap_err();
        let text: Vec<String> = refused.iter().map(|(_, defect)| defect.to_string()).collect();
        assert_eq!(refused.len(), 3);
        for part in ["no shared libpython3.10.so", "python3.12-venv", "is Python 3.11"] {
            assert!(text.iter().any(|line| line.contains(part)), "{part}: {text:?}");
        }
    }

    #[test]
    fn a_named_interpreter_is_the_only_candidate() {
        let dir = tempfile::tempdir().unwrap();
        python(dir.path().join("a/python3.10"), (3, 10), true, true);
        let named = python(dir.path().join("b/python3"), (3, 13), true, true);
        let places = Places { named: Some(named.clone()), path: vec![dir.path().join("a")], ..Places::default() };
        assert_eq!(
            places.choose(TtnnRelease::latest()).unwrap_err(),
            vec![(
                named,
                BaseDefect::Unusable(EnvironmentDefect::Version { version: (3, 13), release: TtnnRelease::latest() })
            )]
        );
    }
}
