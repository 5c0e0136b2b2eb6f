//! Which Python runs TT-NN, and what it lacks.
//!
//! An interpreter is usable when it exists, is a version TT-NN has a wheel for, has a shared libpython that can be loaded, and has the
//! release of `ttnn` that is [wanted](Wanted): the one a plan was made for, since another one may accept other calls and place tensors
//! elsewhere. The choice, first match wins:
//! 1. `--python PATH`, 2. `BITNETC_PYTHON`: taken at their word, an unusable one is an error;
//! 3. `.bitnetc/venv` in the current directory or one above it: likewise, it exists for this purpose;
//! 4. `VIRTUAL_ENV`, 5. `python3` and `python` on `PATH`: the first that is usable.
//!
//! Inspecting runs the interpreter once (about 50 ms) and asks it; nothing is guessed from names of directories.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use bitnetc_plan::TtnnRelease;
use serde::Deserialize;

/// The project's own virtual environment, below the repository's root.
pub const VENV: &str = ".bitnetc/venv";

/// Which release of TT-NN an interpreter must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// This one.
    Only(&'static TtnnRelease),
    /// Whichever is installed, known or not: to find out what changed.
    Any,
}

impl Wanted {
    /// The release to speak of where none is installed.
    const fn release(self) -> &'static TtnnRelease {
        match self {
            Wanted::Only(release) => release,
            Wanted::Any => TtnnRelease::latest(),
        }
    }
}

/// An interpreter that can be embedded and has TT-NN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonEnv {
    /// The `python` executable, in a virtual environment or not.
    pub executable: PathBuf,
    /// Major and minor version.
    pub version: (u32, u32),
    /// The shared library to load.
    pub libpython: PathBuf,
    /// Where its packages are.
    pub site_packages: PathBuf,
    /// Version of the installed `ttnn`.
    pub ttnn: String,
}

/// Why no interpreter could be chosen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// One interpreter, explicitly chosen, is not usable.
    #[error("{origin} {executable}: {defect}", executable = .executable.display())]
    Unusable {
        /// Who chose it: `--python`, `BITNETC_PYTHON`, ...
        origin: &'static str,
        /// The interpreter.
        executable: PathBuf,
        /// The reason why it cannot be used.
        defect: EnvironmentDefect,
    },
    /// Nothing usable was found anywhere.
    #[error(
        "no Python with TT-NN {release} was found; `bitnetc ttnn setup` makes one in {VENV}, or name one with --python or \
         BITNETC_PYTHON{}",
        list(tried)
    )]
    NotFound {
        /// The release looked for.
        release: &'static TtnnRelease,
        /// Every interpreter looked at, and why it was passed over.
        tried: Vec<(PathBuf, EnvironmentDefect)>,
    },
}

fn list(tried: &[(PathBuf, EnvironmentDefect)]) -> String {
    tried.iter().map(|(path, defect)| format!("\n  {}: {defect}", path.display())).collect()
}

/// The reasons why an interpreter cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvironmentDefect {
    /// There is no such file.
    Missing,
    /// It does not start, or does not answer like Python 3.
    DoesNotRun(String),
    /// TT-NN has no wheel for it.
    Version {
        /// Its version.
        version: (u32, u32),
        /// The release that was looked for.
        release: &'static TtnnRelease,
    },
    /// It was built without a shared libpython.
    NoSharedLibrary {
        /// Its version.
        version: (u32, u32),
        /// The places looked at.
        looked: Vec<PathBuf>,
    },
    /// `ttnn` is not installed in it.
    NoTtnn(&'static TtnnRelease),
    /// Another release of `ttnn` is installed in it: what it accepts and where it puts tensors is not what the plan says.
    OtherTtnn {
        /// The version installed.
        found: String,
        /// The release that was looked for.
        release: &'static TtnnRelease,
    },
}

impl fmt::Display for EnvironmentDefect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EnvironmentDefect::Missing => f.write_str("no such interpreter"),
            EnvironmentDefect::DoesNotRun(why) => write!(f, "does not run as Python 3: {why}"),
            EnvironmentDefect::Version { version: (major, minor), release } => {
                let made_for = release.pythons();
                write!(f, "is Python {major}.{minor}, but TT-NN {release} is made for Python {made_for}")
            }
            EnvironmentDefect::NoSharedLibrary { version: (major, minor), looked } => {
                let looked = looked.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
                write!(
                    f,
                    "has no shared libpython{major}.{minor}.so (looked for {looked}): install one (on Debian \
                     libpython{major}.{minor}; with pyenv build with --enable-shared) or use another interpreter"
                )
            }
            EnvironmentDefect::NoTtnn(release) => {
                write!(f, "has no ttnn: run `bitnetc ttnn setup`, or `pip install ttnn=={release}` in it")
            }
            EnvironmentDefect::OtherTtnn { found, release } => write!(
                f,
                "has ttnn {found}, but {release} is what this was made for: run `bitnetc ttnn setup`, or \
                 `pip install ttnn=={release}` in it"
            ),
        }
    }
}

/// The answer of an interpreter that is asked about itself.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Facts {
    pub version: (u32, u32),
    pub site_packages: PathBuf,
    pub ttnn: Option<String>,
    pub has_venv: bool,
    library_directories: Vec<PathBuf>,
    library_names: Vec<String>,
}

/// Answers as one line of JSON. The empty path entry goes first: a file in the current directory must not pass for a module of Python's.
const QUESTION: &str = r#"
import sys
sys.path[:] = [p for p in sys.path if p]
import json, sysconfig, os, importlib.util
try:
    from importlib.metadata import version
    ttnn = version("ttnn")
except Exception:
    ttnn = None
v = sysconfig.get_config_vars()
multiarch = v.get("MULTIARCH") or ""
directories = [v.get("LIBDIR"), os.path.join(v.get("LIBDIR") or "", multiarch), v.get("LIBPL"),
               os.path.join(sys.base_prefix, "lib"), os.path.join(sys.base_prefix, "lib", multiarch)]
short = "libpython%d.%d.so" % sys.version_info[:2]
names = [v.get("INSTSONAME"), v.get("LDLIBRARY"), short + ".1.0", short]
print(json.dumps({
    "version": sys.version_info[:2], "site_packages": sysconfig.get_path("platlib"), "ttnn": ttnn,
    "has_venv": all(importlib.util.find_spec(m) is not None for m in ("venv", "ensurepip")),
    "library_directories": list(dict.fromkeys(os.path.normpath(d) for d in directories if d)),
    "library_names": list(dict.fromkeys(n for n in names if n and ".so" in n)),
}))
"#;

impl Facts {
    /// Asks `executable`.
    pub(crate) fn of(executable: &Path) -> Result<Facts, EnvironmentDefect> {
        if !executable.is_file() {
            return Err(EnvironmentDefect::Missing);
        }
        let output = Command::new(executable)
            .args(["-c", QUESTION])
            .output()
            .map_err(|error| EnvironmentDefect::DoesNotRun(error.to_string()))?;
        let answer = String::from_utf8_lossy(&output.stdout);
        if let (true, Some(line)) = (output.status.success(), answer.lines().last()) {
            return serde_json::from_str(line)
                .map_err(|error| EnvironmentDefect::DoesNotRun(format!("{error} in {line:?}")));
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        let last = complaint.lines().rfind(|line| !line.trim().is_empty());
        Err(EnvironmentDefect::DoesNotRun(last.map_or_else(|| output.status.to_string(), str::to_owned)))
    }

    /// The shared libpython, from the names and directories the interpreter was built with.
    pub(crate) fn libpython(&self) -> Result<PathBuf, EnvironmentDefect> {
        let candidates =
            self.library_directories.iter().flat_map(|dir| self.library_names.iter().map(move |name| dir.join(name)));
        let looked: Vec<PathBuf> = candidates.collect();
        match looked.iter().find(|path| path.is_file()) {
            Some(found) => Ok(found.clone()),
            None => Err(EnvironmentDefect::NoSharedLibrary { version: self.version, looked }),
        }
    }

    /// Refuses versions of Python that the release has no wheel for.
    pub(crate) fn check_version(&self, release: &'static TtnnRelease) -> Result<(), EnvironmentDefect> {
        if release.python.contains(&self.version) {
            Ok(())
        } else {
            Err(EnvironmentDefect::Version { version: self.version, release })
        }
    }
}

impl PythonEnv {
    /// Inspects one interpreter.
    ///
    /// # Errors
    /// The first [`EnvironmentDefect`] found.
    pub fn inspect(executable: &Path, wanted: Wanted) -> Result<PythonEnv, EnvironmentDefect> {
        let facts = Facts::of(executable)?;
        let release = wanted.release();
        // Where any release will do, one that is installed has shown that there is a wheel.
        if wanted != Wanted::Any || facts.ttnn.is_none() {
            facts.check_version(release)?;
        }
        let libpython = facts.libpython()?;
        let ttnn = facts.ttnn.ok_or(EnvironmentDefect::NoTtnn(release))?;
        if wanted != Wanted::Any && ttnn != release.version {
            return Err(EnvironmentDefect::OtherTtnn { found: ttnn, release });
        }
        let (executable, version, site_packages) = (executable.to_owned(), facts.version, facts.site_packages);
        Ok(PythonEnv { executable, version, libpython, site_packages, ttnn })
    }

    /// Chooses an interpreter for this process: see the module's header for the order. `python` is the `--python` argument.
    ///
    /// # Errors
    /// The chosen one is unusable, or there is none.
    pub fn find(python: Option<&Path>, wanted: Wanted) -> Result<PythonEnv, EnvironmentError> {
        let current = std::env::current_dir().unwrap_or_default();
        // An empty variable is one that is not set.
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Search {
            argument: python.map(Path::to_owned),
            variable: variable("BITNETC_PYTHON"),
            directory: current,
            virtual_env: variable("VIRTUAL_ENV"),
            path: path_directories(std::env::var_os("PATH").as_deref()),
        }
        .run(wanted)
    }

    /// Directory of the kernel compiler TT-NN prefers: below the wheel.
    pub fn wheel_compiler_directory(&self) -> PathBuf {
        wheel_compiler_directory(&self.site_packages)
    }
}

/// `ttnn/runtime/sfpi/compiler/bin` in `site_packages`.
pub(crate) fn wheel_compiler_directory(site_packages: &Path) -> PathBuf {
    site_packages.join("ttnn/runtime/sfpi/compiler/bin")
}

pub(crate) fn path_directories(path: Option<&OsStr>) -> Vec<PathBuf> {
    path.map(|path| std::env::split_paths(path).collect()).unwrap_or_default()
}

/// The project's virtual environment at or above `directory`.
pub fn project_venv(directory: &Path) -> Option<PathBuf> {
    directory.ancestors().map(|dir| dir.join(VENV)).find(|venv| venv.join("bin/python").exists())
}

/// Where to look; the process's own surroundings, or a test's.
struct Search {
    argument: Option<PathBuf>,
    variable: Option<PathBuf>,
    directory: PathBuf,
    virtual_env: Option<PathBuf>,
    path: Vec<PathBuf>,
}

impl Search {
    fn run(self, wanted: Wanted) -> Result<PythonEnv, EnvironmentError> {
        let project = project_venv(&self.directory).map(|venv| venv.join("bin/python"));
        let named = [("--python", self.argument), ("BITNETC_PYTHON", self.variable), (VENV, project)];
        if let Some((origin, executable)) = named.into_iter().find_map(|(origin, path)| Some((origin, path?))) {
            return PythonEnv::inspect(&executable, wanted).map_err(|defect| EnvironmentError::Unusable {
                origin,
                executable,
                defect,
            });
        }
        let venv = self.virtual_env.map(|venv| venv.join("bin/python"));
        let on_path = self.path.iter().flat_map(|dir| [dir.join("python3"), dir.join("python")]);
        let mut tried = Vec::new();
        for executable in venv.into_iter().chain(on_path).filter(|path| path.is_file()) {
            match PythonEnv::inspect(&executable, wanted) {
                Ok(env) => return Ok(env),
                Err(defect) => tried.push((executable, defect)),
            }
        }
        Err(EnvironmentError::NotFound { release: wanted.release(), tried })
    }
}

#[cfg(test)]
mod tests;
