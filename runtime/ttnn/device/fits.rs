//! Whether an open card is the one that a plan was made for. Asked before a byte is uploaded: a plan's addresses, grids and shards hold for
//! one kind of card only.

use bitnetc_plan::{Arch, Memory, VerifiedPlan};

use crate::card::CardKind;
use crate::error::TtnnError;
use crate::open_card::OpenCard;

/// The grid of a Blackhole card whose firmware is older than 19.5.0; see the firmware's release notes.
const OLD_BLACKHOLE_GRID: (u32, u32) = (13, 10);

/// Compares the card's chip family, core grid, DRAM banks and L1 with the plan's, and its free DRAM with what the plan takes of it.
///
/// # Errors
/// [`TtnnError::Unfit`] with what differs and what to do.
pub(super) fn check(card: &OpenCard, plan: &VerifiedPlan) -> Result<(), TtnnError> {
    let unfit = |what: &str, planned: String, found: String, hint: &str| {
        Err(TtnnError::Unfit { card: card.card().to_string(), what: what.into(), planned, found, hint: hint.into() })
    };
    let retarget = "compile the model for this card with `bitnetc plan --target`";
    let (arch, name) = match plan.card.arch {
        Arch::Wormhole => ("WORMHOLE_B0", "Wormhole"),
        Arch::Blackhole => ("BLACKHOLE", "Blackhole"),
    };
    let found = card.arch()?;
    if !found.ends_with(arch) {
        return unfit("chip family", name.into(), found, retarget);
    }
    let (planned, grid) = (plan.card.grid, card.grid());
    let columns_by_rows = |grid: (u32, u32)| format!("{}x{} cores", grid.0, grid.1);
    // The simulated chip has no harvested rows: the plan's grid is a part of its grid.
    let fits = match card.card() {
        CardKind::Simulator(_) => grid.0 >= planned.0 && grid.1 >= planned.1,
        CardKind::Mock(_) | CardKind::Real => grid == planned,
    };
    if !fits {
        let old = plan.card.arch == Arch::Blackhole && grid == OLD_BLACKHOLE_GRID;
        let hint = if old { "update the card's firmware to 19.5.0 or newer" } else { retarget };
        return unfit("core grid", columns_by_rows(planned), columns_by_rows(grid), hint);
    }
    if card.dram_banks() != plan.card.dram.banks {
        return unfit("DRAM banks", plan.card.dram.banks.to_string(), card.dram_banks().to_string(), retarget);
    }
    let (planned, found) = ((plan.card.l1.base, plan.card.l1.end), card.l1_range());
    if planned != found {
        let range = |(base, end): (u64, u64)| format!("bytes {base} to {end}");
        return unfit(
            "L1 of a core",
            range(planned),
            range(found),
            "compile the model for the TT-NN that is installed",
        );
    }
    let free = card.memory_view(Memory::Dram)?.largest_free;
    let needed = plan.dram().total();
    if free < needed {
        let bytes = |n: u64| format!("{n} bytes of each bank free");
        return unfit(
            "DRAM",
            bytes(needed),
            bytes(free),
            "end the process that holds the rest, or plan a smaller batch or context",
        );
    }
    Ok(())
}
