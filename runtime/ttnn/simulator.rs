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
    /// No kernel compiler; TT-NN has no description of the chip; files cannot be written.
    pub(crate) fn prepare(&self, env: &PythonEnv) -> Result<Files, TtnnError> {
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
}
