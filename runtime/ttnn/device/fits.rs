//! Whether an open card is the one that a plan was made for. Asked before a byte is uploaded: a plan's addresses, grids and shards hold for
//! one kind of card only.

use bitnetc_plan::{Arch, Card, Memory, VerifiedPlan, units};

use crate::card::CardKind;
use crate::error::TtnnError;
use crate::mock_card::MockCard;
use crate::open_card::OpenCard;

/// The grid of a Blackhole card whose firmware is older than 19.5.0; see the firmware's release notes.
const OLD_BLACKHOLE_GRID: (u32, u32) = (13, 10);

/// An open card, as TT-NN tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    /// Its name in messages.
    card: String,
    /// Chip family, `Arch.WORMHOLE_B0`.
    arch: String,
    /// Board, `ClusterType.N150`.
    cluster: String,
    /// Columns and rows of worker cores.
    grid: (u32, u32),
    /// DRAM banks.
    dram_banks: u32,
    /// First and last-plus-one address of the L1 that tensors and circular buffers share.
    l1: (u64, u64),
    /// Bytes of the largest free range of each DRAM bank.
    dram_free: u64,
    /// A chip without a board and without harvested rows, of which the plan uses a part.
    simulated: bool,
}

/// Compares chip family, board, core grid, DRAM banks and L1 of the card with the plan's, and its free DRAM with the bytes that the plan
/// needs.
///
/// # Errors
/// [`TtnnError::Unfit`] with what differs and what to do; TT-NN's own when the card cannot be asked.
pub(super) fn check(card: &OpenCard, plan: &VerifiedPlan) -> Result<(), TtnnError> {
    let facts = Facts {
        card: card.card().to_string(),
        arch: card.arch()?,
        cluster: card.cluster()?,
        grid: card.grid(),
        dram_banks: card.dram_banks(),
        l1: card.l1_range(),
        dram_free: card.memory_view(Memory::Dram)?.largest_free,
        simulated: match card.card() {
            CardKind::Simulator(_) => true,
            CardKind::Mock(_) | CardKind::Real => false,
        },
    };
    facts.fit(&plan.card, plan.dram().total())
}

impl Facts {
    /// Compares them with the card of a plan that needs so many bytes of each DRAM bank.
    fn fit(&self, plan: &Card, needed: u64) -> Result<(), TtnnError> {
        let unfit = |what: &str, planned: String, found: String, hint: &str| {
            Err(TtnnError::Unfit { card: self.card.clone(), what: what.into(), planned, found, hint: hint.into() })
        };
        let retarget = "compile the model for this card with `bitnetc plan --target`";
        let (arch, name) = match plan.arch {
            Arch::Wormhole => ("WORMHOLE_B0", "Wormhole"),
            Arch::Blackhole => ("BLACKHOLE", "Blackhole"),
        };
        if !self.arch.ends_with(arch) {
            return unfit("chip family", name.into(), self.arch.clone(), retarget);
        }
        // The target of a person's own file may have any name.
        let board = self.cluster.rsplit('.').next().unwrap_or_default().to_lowercase();
        if MockCard::named(&plan.name).is_ok() && MockCard::named(&board).is_ok() && board != plan.name {
            return unfit("board", plan.name.clone(), board, retarget);
        }
        let columns_by_rows = |grid: (u32, u32)| format!("{}x{} cores", grid.0, grid.1);
        let (planned, grid) = (plan.grid, self.grid);
        let fits = if self.simulated { grid.0 >= planned.0 && grid.1 >= planned.1 } else { grid == planned };
        if !fits {
            let old = plan.arch == Arch::Blackhole && grid == OLD_BLACKHOLE_GRID;
            let hint = if old { "update the card's firmware to 19.5.0 or newer" } else { retarget };
            return unfit("core grid", columns_by_rows(planned), columns_by_rows(grid), hint);
        }
        if self.dram_banks != plan.dram.banks {
            return unfit("number of DRAM banks", plan.dram.banks.to_string(), self.dram_banks.to_string(), retarget);
        }
        let (planned, found) = ((plan.l1.base, plan.l1.end), self.l1);
        if planned != found {
            let range = |(base, end): (u64, u64)| format!("bytes {base} to {end}");
            let hint = "compile the model for the TT-NN that is installed";
            return unfit("L1 of a core", range(planned), range(found), hint);
        }
        if self.dram_free < needed {
            let bytes = |n: u64| format!("{} of each bank free", units::bytes(n));
            let hint = "end the process that holds the rest, or plan a smaller batch or context";
            return unfit("DRAM", bytes(needed), bytes(self.dram_free), hint);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bitnetc_plan::card::Dram;
    use bitnetc_plan::{TtnnRelease, card::L1};

    use super::*;

    fn card(name: &str, arch: Arch, grid: (u32, u32), banks: u32) -> Card {
        let chip = match arch {
            Arch::Wormhole => &TtnnRelease::latest().wormhole,
            Arch::Blackhole => &TtnnRelease::latest().blackhole,
        };
        let L1 { base, end, alignment } = chip.l1;
        let dram = Dram { banks, base: 64, bank_bytes: 1 << 30, alignment: chip.dram_alignment, readers_per_bank: 1 };
        Card { name: name.into(), arch, grid, l1: L1 { base, end, alignment }, dram }
    }

    fn facts(of: &Card, cluster: &str) -> Facts {
        let arch = if of.arch == Arch::Wormhole { "Arch.WORMHOLE_B0" } else { "Arch.BLACKHOLE" };
        Facts {
            card: "the real card".into(),
            arch: arch.into(),
            cluster: cluster.into(),
            grid: of.grid,
            dram_banks: of.dram.banks,
            l1: (of.l1.base, of.l1.end),
            dram_free: 1 << 30,
            simulated: false,
        }
    }

    #[test]
    fn the_plans_own_card_fits() {
        let n150 = card("n150", Arch::Wormhole, (8, 8), 12);
        facts(&n150, "ClusterType.N150").fit(&n150, 1 << 30).unwrap();
        // A target of one's own, and a cluster that no target stands for.
        let mine = Card { name: "mine".into(), ..n150.clone() };
        facts(&mine, "ClusterType.N150").fit(&mine, 0).unwrap();
        facts(&n150, "ClusterType.T3K").fit(&n150, 0).unwrap();
        let simulated = Facts { simulated: true, grid: (8, 10), ..facts(&n150, "ClusterType.SIMULATOR_WORMHOLE_B0") };
        simulated.fit(&n150, 0).unwrap();
    }

    #[test]
    fn every_difference_is_named_with_both_figures_and_a_remedy() {
        let n150 = card("n150", Arch::Wormhole, (8, 8), 12);
        let p150 = card("p150", Arch::Blackhole, (11, 10), 8);
        let (wormhole, blackhole) = (facts(&n150, "ClusterType.N150"), facts(&p150, "ClusterType.P150"));
        let smaller = Facts { simulated: true, grid: (7, 10), ..wormhole.clone() };
        let full = Facts { dram_free: 5, ..wormhole.clone() };
        let cases: [(&Card, Facts, [&str; 3]); 9] = [
            (&p150, wormhole.clone(), ["chip family is Arch.WORMHOLE_B0", "needs Blackhole", "--target"]),
            (&n150, facts(&n150, "ClusterType.N300"), ["board is n300", "needs n150", "--target"]),
            (&n150, Facts { grid: (8, 7), ..wormhole.clone() }, ["8x7 cores", "needs 8x8 cores", "--target"]),
            (&n150, smaller, ["7x10 cores", "needs 8x8 cores", "--target"]),
            (
                &p150,
                Facts { grid: (13, 10), ..blackhole.clone() },
                ["13x10 cores", "needs 11x10", "firmware to 19.5.0"],
            ),
            (&p150, Facts { grid: (12, 10), ..blackhole.clone() }, ["12x10 cores", "needs 11x10", "--target"]),
            (&p150, Facts { dram_banks: 7, ..blackhole }, ["number of DRAM banks is 7", "needs 8", "--target"]),
            (&n150, Facts { l1: (105_824, 1_499_000), ..wormhole }, ["1499000", "1499136", "TT-NN that is installed"]),
            (&n150, full, ["5 B of each bank free", "needs 6 B", "smaller batch or context"]),
        ];
        for (plan, facts, words) in cases {
            let text = facts.fit(plan, 6).unwrap_err().to_string();
            assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
        }
    }
}
