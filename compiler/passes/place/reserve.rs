//! Fragmentation: what the search's sum over live tensors does not see.
//!
//! The walk over the allocator model replays a placed phase and has the last word. What its worst step overflows by is reserved, and the
//! search is asked again. The reserve holds **in every step**, not only where fragments lie: the phase found is the cheapest of those that
//! leave so much free everywhere, and a cheaper one that fits may have been missed. Where nothing overflows, nothing is reserved but the
//! persistent tensors, and nothing is missed.

use bitnetc_plan::{Card, Invariant, Memory, Phase, Weight, l1, walk};

/// L1 bytes per core that the search leaves alone.
#[derive(Debug)]
pub struct Reserve {
    bytes: u64,
    capacity: u64,
}

impl Reserve {
    /// What the constants that stay in L1 take.
    pub fn new(constants: &[Weight], card: &Card) -> Self {
        let in_l1 = constants.iter().filter(|w| w.spec.memory.memory() == Memory::L1);
        Reserve { bytes: in_l1.map(|w| l1::buffer_bytes(&w.spec, card)).sum(), capacity: card.l1_bytes() }
    }

    /// The bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a phase placed beside the reserve fits. If not, the reserve has grown by what the worst step overflows by. A reserve of more
    /// than L1 suffices: placing beside it has failed before, or verification will say what is wrong.
    pub fn suffices(&mut self, context: walk::Context<'_>, phase: &Phase) -> bool {
        let walk = walk::walk(context, phase);
        let worst = walk.steps.iter().map(|s| s.footprint.high_water()).max().unwrap_or(0);
        let over = worst.saturating_sub(self.capacity);
        let refused = walk.defects.iter().any(|d| d.invariant == Invariant::L1Capacity);
        // A tensor without an address has no size in the footprint: give way by a little and look again.
        let over = if refused { over.max(self.capacity / 64) } else { over };
        if over == 0 || self.bytes > self.capacity {
            return true;
        }
        self.bytes += over;
        false
    }
}
