//! A profile: which program on a card was which step of a plan, and how long each took. The runtime writes it, calibration reads it.
//!
//! TT-NN numbers the programs it launches in each process. The number of a program is also in every record of TT-NN's profilers, so a list
//! of numbers with their steps is all that is needed to say what was measured. A program of a trace keeps the number it was captured with.

use serde::{Deserialize, Serialize};

use crate::{PhaseKind, Plan};

/// The first field of a profile, by which its file is known.
pub const FORMAT: &str = "bitnetc profile 1";

/// What a run launched, and what was measured of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// [`FORMAT`].
    pub format: String,
    /// Digest of the plan's model.
    pub digest: String,
    /// The plan's card.
    pub card: String,
    /// The release of TT-NN.
    pub release: String,
    /// Every call that launched programs, in order.
    pub calls: Vec<Call>,
    /// What TT-NN's real-time profiler saw, in any order; empty where it is not active, as on a mock or the simulator.
    pub records: Vec<Record>,
    /// Records that were lost because they came too fast.
    pub dropped: u64,
}

/// A call of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The number of its first program.
    pub id: u64,
    /// Programs, numbered one after another.
    pub programs: u64,
    /// The phase.
    pub phase: PhaseKind,
    /// The layer; `None` outside of the layers.
    pub layer: Option<u32>,
    /// The step's name in the plan.
    pub step: String,
}

/// One run of a program.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The program's number.
    pub id: u64,
    /// The chip it ran on.
    pub chip: u32,
    /// When it was started, in microseconds of the chip's clock.
    pub start_us: f64,
    /// When it was done.
    pub end_us: f64,
}

impl Profile {
    /// Nothing yet, of a run of `plan`.
    pub fn of(plan: &Plan) -> Self {
        Profile {
            format: FORMAT.into(),
            digest: plan.model.digest.clone(),
            card: plan.card.name.clone(),
            release: plan.release.clone(),
            calls: Vec::new(),
            records: Vec::new(),
            dropped: 0,
        }
    }
}
