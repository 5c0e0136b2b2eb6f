//! Tenstorrent's functional simulator as a card: the real kernels run, only time means nothing.
//!
//! The simulator is a shared library for one chip family, which a user downloads from Tenstorrent. TT-NN opens it as it opens a card when
//! `TT_METAL_SIMULATOR` names the library and a description of the chip lies beside it. The description comes with TT-NN, so a directory
//! with a link to the library and a copy of the description is made for each process.

use std::path::{Path, PathBuf};

use bitnetc_plan::Arch;

use crate::card::{self, Files};
use crate::environment::PythonEnv;
use crate::error::TtnnError;
use crate::python::{set_variable, unset_variable};
use crate::setup;

/// A simulator library and the chip family that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulator {
    library: PathBuf,
    arch: Arch,
}

/// Asks a simulator library for the vendor and device ids of its chip, which are its first word of PCI configuration space (the library's
/// documented interface). The library has one instance for each process and ends the process when something is wrong, so the question is
/// asked in a process of its own.
const ASK: &str = "import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.libttsim_init()
library.libttsim_pci_config_rd32.restype = ctypes.c_uint32
print('\\nid', library.libttsim_pci_config_rd32(0, 0))";

/// Tenstorrent's vendor id in the low half, the chip's in the high half.
const CHIPS: [(u32, Arch); 2] = [(0x401e_1e52, Arch::Wormhole), (0xb140_1e52, Arch::Blackhole)];

/// Variables of a user's shell that would select another machine than the simulated one, or a dispatch without traces.
const FOREIGN: [&str; 5] = [
    "TT_METAL_MOCK_CLUSTER_DESC_PATH",
    "TT_METAL_SLOW_DISPATCH_MODE",
    "TT_METAL_CORE_GRID_OVERRIDE_TODEPRECATE",
    "TT_METAL_VISIBLE_DEVICES",
    "TT_VISIBLE_DEVICES",
];

impl Simulator {
    /// The simulator in `library`, to be opened as a chip of `arch`.
    ///
    /// # Errors
    /// [`TtnnError::NoSimulator`] when the file cannot be read or is no shared library.
    pub fn new(library: &Path, arch: Arch) -> Result<Self, TtnnError> {
        let refuse = |why: String| TtnnError::NoSimulator { library: library.to_owned(), why };
        let library = library.canonicalize().map_err(|error| refuse(error.to_string()))?;
        let mut magic = [0; 4];
        std::fs::File::open(&library)
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic))
            .map_err(|error| refuse(error.to_string()))?;
        if magic != *b"\x7fELF" {
            return Err(refuse("it is no shared library".into()));
        }
        Ok(Simulator { library, arch })
    }

    /// The library's path.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// Puts the process's environment in order. Kernels are compiled for the simulator by the real compiler, so a missing one and the
    /// stand-in for mock cards are refused.
    ///
    /// # Errors
    /// No kernel compiler; a library of another chip, or no simulator; TT-NN has no description of the chip; files cannot be written.
    pub(crate) fn prepare(&self, env: &PythonEnv) -> Result<Files, TtnnError> {
        let simulated = self.simulated(env)?;
        if simulated != self.arch {
            let why = format!("it simulates {simulated:?}, the plan is for {:?}", self.arch);
            return Err(TtnnError::NoSimulator { library: self.library.clone(), why });
        }
        if !setup::has_real_compiler(env) {
            return Err(TtnnError::NoCompiler { path: env.wheel_compiler_directory() });
        }
        let description = env.site_packages.join("ttnn/tt_metal/soc_descriptors").join(match self.arch {
            Arch::Wormhole => "wormhole_b0_80_arch.yaml",
            Arch::Blackhole => "blackhole_140_arch.yaml",
        });
        let directory = tempfile::Builder::new()
            .prefix("bitnetc-simulator-")
            .tempdir()
            .map_err(|source| TtnnError::File { path: std::env::temp_dir(), source })?;
        let link = directory.path().join("libttsim.so");
        std::os::unix::fs::symlink(&self.library, &link)
            .map_err(|source| TtnnError::File { path: link.clone(), source })?;
        std::fs::copy(&description, directory.path().join("soc_descriptor.yaml"))
            .map_err(|source| TtnnError::File { path: description, source })?;
        for variable in FOREIGN {
            unset_variable(variable)?;
        }
        for (variable, directory) in card::own_directories("simulator")? {
            set_variable(variable, &directory)?;
        }
        // The simulator does not model the instruction that this avoids.
        set_variable("TT_METAL_DISABLE_SFPLOADMACRO", "1")?;
        set_variable(card::SIMULATOR, &link.display().to_string())?;
        Ok(Files::Simulator(directory))
    }

    /// The chip family that the library simulates.
    fn simulated(&self, env: &PythonEnv) -> Result<Arch, TtnnError> {
        let refuse = |why: String| TtnnError::NoSimulator { library: self.library.clone(), why };
        let asked = std::process::Command::new(&env.executable)
            .args(["-c", ASK])
            .arg(&self.library)
            .output()
            .map_err(|error| refuse(error.to_string()))?;
        let text = String::from_utf8_lossy(&asked.stdout);
        let id = text.lines().find_map(|line| line.strip_prefix("id ")?.parse::<u32>().ok());
        let Some(id) = id else {
            let errors = String::from_utf8_lossy(&asked.stderr);
            let last = errors.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it does not answer");
            return Err(refuse(format!("it is no simulator of Tenstorrent's ({last})")));
        };
        let known = CHIPS.iter().find(|(chip, _)| *chip == id).map(|(_, arch)| *arch);
        known.ok_or_else(|| refuse(format!("it simulates a chip that bitnetc does not know (PCI id {id:#010x})")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_library_is_refused_by_its_path() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "MZ, not ELF").unwrap();
        for (path, why) in [(file.path(), "no shared library"), (Path::new("/not/there.so"), "No such file")] {
            let error = Simulator::new(path, Arch::Wormhole).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains(path.to_str().unwrap()), "{error}");
        }
    }
}
