//! The reserve for fragmentation, which the search does not see, because it only adds up the sizes of live tensors.
//!
//! After each search the placed phase is replayed on a model of the allocator, and that replay decides whether it fits. The bytes by which
//! its worst step overflows are reserved, and the search is run again. The reserve holds **in every step**, not only where fragments lie:
//! the phase found is the cheapest of those that leave so much free everywhere, and a cheaper one that fits may have been missed. Where
//! nothing overflows, only the persistent tensors are reserved, and nothing is missed.

use bitnetc_plan::allocator::bytes_per_bank;
use bitnetc_plan::{Card, Invariant, Memory, Phase, Weight, walk};

/// The bytes of L1 per core that the search leaves free.
#[derive(Debug)]
pub struct Reserve {
    bytes: u64,
    capacity: u64,
}

impl Reserve {
    /// A reserve for the constants that stay in L1.
    pub fn new(constants: &[Weight], card: &Card) -> Self {
        let in_l1 = constants.iter().filter(|w| w.spec.memory.memory() == Memory::L1);
        Reserve { bytes: in_l1.map(|w| bytes_per_bank(&w.spec, card)).sum(), capacity: card.l1_bytes() }
    }

    /// The bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a phase that was placed beside the reserve fits. If it does not, the reserve has grown by the overflow of the worst step. A
    /// reserve that exceeds L1 always suffices, since placing beside it has failed before, or verification will report the cause.
    pub fn suffices(&mut self, context: walk::Context<'_>, phase: &Phase) -> bool {
        let walk = walk::walk(context, phase);
        let worst = walk.steps.iter().map(|s| s.footprint.high_water()).max().unwrap_or(0);
        let over = worst.saturating_sub(self.capacity);
        let refused = walk.defects.iter().any(|d| d.invariant == Invariant::L1Capacity);
        // A tensor that got no address has no size in the footprint, so the overflow is not known: grow by a small amount and try again.
        let over = if refused { over.max(self.capacity / 64) } else { over };
        if over == 0 || self.bytes > self.capacity {
            return true;
        }
        self.bytes += over;
        false
    }
}
