//! What a replay found: how much of a phase agrees, and where it does not.

use std::fmt;

/// A difference between plan and TT-NN.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// The phase; empty for weights and buffers.
    pub phase: String,
    /// The layer, outside of layers `None`.
    pub layer: Option<u32>,
    /// The step, or the weight or buffer.
    pub step: String,
    /// The property that differs.
    pub what: &'static str,
    /// The plan's value.
    pub planned: String,
    /// TT-NN's value.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { phase, layer, step, what, planned, found } = self;
        match (phase.is_empty(), layer) {
            (true, Some(layer)) => write!(f, "{step} of layer {layer}: ")?,
            (true, None) => write!(f, "{step}: ")?,
            (false, Some(layer)) => write!(f, "{phase}, layer {layer}, step `{step}`: ")?,
            (false, None) => write!(f, "{phase}, step `{step}`: ")?,
        }
        if *what == ACCEPTANCE {
            write!(f, "refused: {found}")
        } else {
            write!(f, "{what} planned {planned}, TT-NN {found}")
        }
    }
}

/// Agreement in numbers: how many of how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Equal.
    pub equal: u64,
    /// Asked.
    pub of: u64,
}

impl Tally {
    pub(super) fn count(&mut self, equal: bool) {
        self.of += 1;
        self.equal += u64::from(equal);
    }

    /// All of them equal.
    pub const fn complete(self) -> bool {
        self.equal == self.of
    }
}

/// The result of replaying one phase.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct PhaseReport {
    /// `decode`, `prefill 128`.
    pub phase: String,
    /// Calls accepted, over all layers.
    pub accepted: Tally,
    /// Output specs equal.
    pub specs: Tally,
    /// Addresses equal, in L1 and DRAM; those of weights and buffers count in the first phase.
    pub addresses: Tally,
    /// Circular-buffer bytes equal, each step once.
    pub buffers: Tally,
    /// Device operations equal, by their names, each step once.
    pub operations: Tally,
    /// High-water marks equal, of each step one in L1 and one in DRAM.
    pub high_waters: Tally,
    /// Predicted high-water mark of the phase, bytes per core.
    pub planned_high_water: u64,
    /// TT-NN's.
    pub found_high_water: u64,
    /// Predicted bytes of each DRAM bank up to the end of the highest tensor.
    pub planned_dram: u64,
    /// TT-NN's.
    pub found_dram: u64,
    /// The first differences, in order.
    pub differences: Vec<Difference>,
}

impl PhaseReport {
    /// Everything accepted and equal.
    pub fn agrees(&self) -> bool {
        let all = [self.accepted, self.specs, self.addresses, self.buffers, self.operations, self.high_waters];
        all.iter().all(|t| t.complete())
            && self.planned_high_water == self.found_high_water
            && self.planned_dram == self.found_dram
    }
}

/// [`Difference::what`] of a call that TT-NN refuses.
pub const ACCEPTANCE: &str = "acceptance";

/// Differences kept per phase, the refusal that ends it apart: one cause often shows in every layer.
pub(super) const MAX_DIFFERENCES: usize = 20;
