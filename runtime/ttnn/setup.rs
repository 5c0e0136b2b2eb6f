//! Making the TT-NN environment: `bitnetc ttnn setup`.
//!
//! It installs three parts, each only where it is missing:
//! 1. a virtual environment with the wheel of a release of TT-NN;
//! 2. RISC-V binutils (`riscv64-unknown-elf-as`, `-ld`), by apt where they are missing;
//! 3. the stand-in kernel compiler inside the wheel, unless a real SFPI is installed.
//!
//! A second run finds everything in place and changes nothing. Two runs at once wait for each other.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bitnetc_plan::TtnnRelease;

use crate::base::{BaseDefect, Places};
use crate::environment::{EnvironmentDefect, PythonEnv, VENV, Wanted, path_directories, project_venv};

/// Name under which TT-NN looks for its kernel compiler.
pub(crate) const COMPILER: &str = "riscv-tt-elf-g++";
/// The same from the folder of the `ttnn` module.
pub(crate) const COMPILER_BELOW_TTNN: &str = "runtime/sfpi/compiler/bin/riscv-tt-elf-g++";
const STAND_IN: &str = include_str!("standin/riscv-tt-elf-g++");
const KERNEL: &str = include_str!("standin/kernel.s");
/// A line of the stand-in's header, by which it is told from a real compiler.
pub(crate) const MARK: &str = "# Stands in for the kernel compiler of TT-NN";
const SYSTEM_COMPILER: &str = "/opt/tenstorrent/sfpi/compiler/bin/riscv-tt-elf-g++";
const BINUTILS_PACKAGE: &str = "binutils-riscv64-unknown-elf";
const ASSEMBLER: &str = "riscv64-unknown-elf-as";
const LINKER: &str = "riscv64-unknown-elf-ld";

/// Why the environment could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// No interpreter on this machine will do.
    #[error(
        "no Python {} with a shared libpython was found: install one (Debian: python3.12 python3.12-venv libpython3.12; \
         uv: `uv python install 3.12`; pyenv: `PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install 3.10`) or name one with --python{}",
        .release.pythons(),
        list(refused)
    )]
    NoPython {
        /// The release whose versions of Python were looked for.
        release: &'static TtnnRelease,
        /// The interpreters that were looked at, each with the reason why it will not do.
        refused: Vec<(PathBuf, BaseDefect)>,
    },
    /// The directory holds something else.
    #[error("{} is not empty and no virtual environment: choose another directory with --dir", .directory.display())]
    NotAVenv {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory is a virtual environment of an interpreter that will not do.
    #[error(
        "the virtual environment in {} {defect}; choose another directory with --dir, or remove this one",
        .directory.display()
    )]
    OtherVenv {
        /// The directory.
        directory: PathBuf,
        /// Why its interpreter will not do.
        defect: EnvironmentDefect,
    },
    /// A program could not do its part.
    #[error("{what} failed: `{command}` said: {said}")]
    Command {
        /// The action that failed.
        what: &'static str,
        /// The command line.
        command: String,
        /// Its last words.
        said: String,
    },
    /// The binutils cannot be installed from here.
    #[error(
        "TT-NN's mock card needs {ASSEMBLER} and {LINKER}, and they cannot be installed from here ({why}): install the package that \
         has them (Debian and Ubuntu: {BINUTILS_PACKAGE}), then run `bitnetc ttnn setup` again"
    )]
    NoBinutils {
        /// The reason.
        why: String,
    },
    /// The environment was made but does not work.
    #[error("the environment in {} is still not usable: {defect}", .directory.display())]
    StillUnusable {
        /// The environment.
        directory: PathBuf,
        /// The part that it lacks.
        defect: EnvironmentDefect,
    },
    /// A file could not be written.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

fn list(refused: &[(PathBuf, BaseDefect)]) -> String {
    refused.iter().map(|(path, defect)| format!("\n  {}: {defect}", path.display())).collect()
}

/// The actions that a run of [`Setup::run`] took.
#[derive(Debug)]
pub struct Outcome {
    /// The environment, ready to use.
    pub env: PythonEnv,
    /// One line per thing done; empty when everything was in place.
    pub done: Vec<String>,
}

/// A run of `bitnetc ttnn setup`.
#[derive(Debug)]
pub struct Setup {
    directory: PathBuf,
    version: String,
    places: Places,
    path: Vec<PathBuf>,
    superuser: bool,
    system_compiler: PathBuf,
}

/// The environment `bitnetc ttnn setup` makes without `--dir`: the project's existing one at or above `current`, else in the root of the
/// git checkout around it, else in `current` itself.
pub fn default_directory(current: &Path) -> PathBuf {
    let root = current.ancestors().find(|dir| dir.join(".git").exists()).unwrap_or(current);
    project_venv(current).unwrap_or_else(|| root.join(VENV))
}

impl Setup {
    /// Prepares a run for the virtual environment `directory`; `version` is that of TT-NN's wheel, `python` names the interpreter to make
    /// it from.
    pub fn new(directory: &Path, version: &str, python: Option<&Path>) -> Setup {
        Setup {
            directory: directory.to_owned(),
            version: version.to_owned(),
            places: Places::of_this_machine(python),
            path: path_directories(std::env::var_os("PATH").as_deref()),
            superuser: rustix::process::geteuid().is_root(),
            system_compiler: PathBuf::from(SYSTEM_COMPILER),
        }
    }

    /// Makes what is missing; `progress` hears of each long step before it starts.
    ///
    /// # Errors
    /// See [`SetupError`]. What was made before the error stays and is not made again.
    pub fn run(&self, progress: &mut dyn FnMut(&str)) -> Result<Outcome, SetupError> {
        let _lock = self.lock()?;
        let mut done = Vec::new();
        let env = self.environment(progress, &mut done)?;
        let bin = env.wheel_compiler_directory();
        let compiler = bin.join(COMPILER);
        let real = self.system_compiler.exists() || (compiler.exists() && !is_stand_in(&compiler));
        if !real {
            self.binutils(progress, &mut done)?;
            self.stand_in(&bin, &mut done)?;
        }
        Ok(Outcome { env, done })
    }

    /// Held while the run lasts; the kernel releases it when the process ends.
    fn lock(&self) -> Result<File, SetupError> {
        let parent = self.directory.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let path = parent.join(".bitnetc-setup.lock");
        let failed = |source| SetupError::File { path: path.clone(), source };
        std::fs::create_dir_all(parent).map_err(failed)?;
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        Ok(file)
    }

    fn environment(&self, progress: &mut dyn FnMut(&str), done: &mut Vec<String>) -> Result<PythonEnv, SetupError> {
        let python = self.directory.join("bin/python");
        match PythonEnv::inspect(&python, Wanted::Any) {
            Ok(env) if env.ttnn == self.version => return Ok(env),
            Ok(_) | Err(EnvironmentDefect::NoTtnn(_) | EnvironmentDefect::OtherTtnn { .. }) => {}
            Err(EnvironmentDefect::Missing | EnvironmentDefect::DoesNotRun(_)) => self.make_venv(progress, done)?,
            // It works, for somebody else: not ours to clear.
            Err(defect @ (EnvironmentDefect::Version { .. } | EnvironmentDefect::NoSharedLibrary { .. })) => {
                return Err(SetupError::OtherVenv { directory: self.directory.clone(), defect });
            }
        }
        // A run that was interrupted leaves none, and some tools make environments without.
        if !has_pip(&python) {
            run("installing pip", Command::new(&python).args(["-m", "ensurepip"]))?;
            done.push("installed pip".into());
        }
        progress(&format!("installing ttnn {}", self.version));
        let wheel = format!("ttnn=={}", self.version);
        let arguments = ["-m", "pip", "install", "--disable-pip-version-check", "--quiet", &wheel];
        run("installing TT-NN", Command::new(&python).args(arguments))?;
        done.push(format!("installed ttnn {}", self.version));
        PythonEnv::inspect(&python, Wanted::Any)
            .map_err(|defect| SetupError::StillUnusable { directory: self.directory.clone(), defect })
    }

    /// A fresh virtual environment, over a broken one where there is one, never over anything else.
    fn make_venv(&self, progress: &mut dyn FnMut(&str), done: &mut Vec<String>) -> Result<(), SetupError> {
        let occupied = std::fs::read_dir(&self.directory).is_ok_and(|mut entries| entries.next().is_some());
        if occupied && !self.directory.join("pyvenv.cfg").is_file() {
            return Err(SetupError::NotAVenv { directory: self.directory.clone() });
        }
        let release = TtnnRelease::latest();
        let base = self.places.choose(release).map_err(|refused| SetupError::NoPython { release, refused })?;
        let (from, to) = (base.display(), self.directory.display());
        progress(&format!("making a virtual environment in {to} from {from}"));
        run(
            "making the virtual environment",
            Command::new(&base).args(["-m", "venv", "--clear"]).arg(&self.directory),
        )?;
        done.push(format!("made a virtual environment in {to} from {from}"));
        Ok(())
    }

    fn on_path(&self, program: &str) -> Option<PathBuf> {
        self.path.iter().map(|dir| dir.join(program)).find(|path| path.is_file())
    }

    fn binutils(&self, progress: &mut dyn FnMut(&str), done: &mut Vec<String>) -> Result<(), SetupError> {
        let present = || self.on_path(ASSEMBLER).is_some() && self.on_path(LINKER).is_some();
        if present() {
            return Ok(());
        }
        let no = |why: &str| SetupError::NoBinutils { why: why.to_owned() };
        let apt = self.on_path("apt-get").ok_or_else(|| no("there is no apt-get"))?;
        let command = if self.superuser {
            vec![apt]
        } else {
            vec![self.on_path("sudo").ok_or_else(|| no("this user is not root and there is no sudo"))?, apt]
        };
        progress(&format!("installing {BINUTILS_PACKAGE}"));
        let apt_get = |arguments: &[&str]| {
            let mut program = Command::new(&command[0]);
            program.args(&command[1..]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
            run("installing the binutils", &mut program)
        };
        let install = ["install", "--yes", "--no-install-recommends", BINUTILS_PACKAGE];
        // On a machine whose package lists were never fetched, the package is unknown until they are.
        if apt_get(&install).is_err() {
            apt_get(&["update"]).and_then(|()| apt_get(&install)).map_err(|error| no(&error.to_string()))?;
        }
        if !present() {
            return Err(no("apt-get installed the package, but the programs are not on PATH"));
        }
        done.push(format!("installed {BINUTILS_PACKAGE}"));
        Ok(())
    }

    fn stand_in(&self, bin: &Path, done: &mut Vec<String>) -> Result<(), SetupError> {
        let (script, source, object) = (bin.join(COMPILER), bin.join("kernel.s"), bin.join("kernel.o"));
        let same = |path: &Path, text: &str| std::fs::read_to_string(path).is_ok_and(|found| found == text);
        if same(&script, STAND_IN) && same(&source, KERNEL) && object.is_file() {
            return Ok(());
        }
        std::fs::create_dir_all(bin).map_err(|error| SetupError::File { path: bin.to_owned(), source: error })?;
        write(&source, KERNEL, 0o644)?;
        let assembler = self.on_path(ASSEMBLER).unwrap_or_else(|| PathBuf::from(ASSEMBLER));
        let mut assemble = Command::new(assembler);
        assemble.args(["-march=rv32im", "-mabi=ilp32"]).arg(&source).arg("-o").arg(&object);
        run("assembling the stand-in kernel", &mut assemble)?;
        // Last, because its presence is what TT-NN and the next run look for.
        write(&script, STAND_IN, 0o755)?;
        done.push(format!("put the stand-in kernel compiler into {}", bin.display()));
        Ok(())
    }
}

/// True where TT-NN would compile kernels for real: with a compiler of the system, or its own that is no stand-in.
pub(crate) fn has_real_compiler(env: &PythonEnv) -> bool {
    let own = env.wheel_compiler_directory().join(COMPILER);
    Path::new(SYSTEM_COMPILER).exists() || (own.exists() && !is_stand_in(&own))
}

/// True for this project's stand-in, whatever its version.
pub(crate) fn is_stand_in(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(512).read_to_end(&mut head));
    read.is_ok() && String::from_utf8_lossy(&head).contains(MARK)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), SetupError> {
    let written = || {
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut file = tempfile::NamedTempFile::new_in(real.parent().unwrap_or(Path::new(".")))?;
        file.write_all(text.as_bytes())?;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(real)?;
        Ok(())
    };
    written().map_err(|source| SetupError::File { path: path.to_owned(), source })
}

fn has_pip(python: &Path) -> bool {
    Command::new(python).args(["-m", "pip", "--version"]).output().is_ok_and(|output| output.status.success())
}

fn run(what: &'static str, command: &mut Command) -> Result<(), SetupError> {
    let line = || {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    };
    let line = line();
    let failed = |said: String| SetupError::Command { what, command: line.clone(), said };
    let output = command.stdin(Stdio::inherit()).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(3)..].join("; ");
    Err(failed(if last.is_empty() { output.status.to_string() } else { last }))
}

#[cfg(test)]
#[path = "setup_tests.rs"]
mod tests;
