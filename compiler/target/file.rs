//! The file of a target as it is written: what a release of TT-NN determines may be left out.

use bitnetc_plan::card::{Dram, L1};
use bitnetc_plan::{Arch, Card, TtnnRelease};
use serde::Deserialize;

use super::{Calibration, Figure};

/// The file of a target.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "Target")]
pub(super) struct TargetFile {
    pub card: CardFile,
    pub cost: Calibration<Figure>,
}

/// A [`Card`] without the figures that a release of TT-NN determines.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "Card")]
pub(super) struct CardFile {
    name: String,
    arch: Arch,
    grid: (u32, u32),
    #[serde(default)]
    l1: Option<L1>,
    dram: DramFile,
}

/// A [`Dram`] without the figures that a release of TT-NN determines.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "Dram")]
struct DramFile {
    banks: u32,
    #[serde(default)]
    base: Option<u64>,
    #[serde(default)]
    bank_bytes: Option<u64>,
    #[serde(default)]
    alignment: Option<u64>,
    #[serde(default)]
    readers_per_bank: Option<u32>,
}

impl CardFile {
    /// The card under a release.
    pub fn under(self, release: &TtnnRelease) -> Card {
        let (chip, dram) = (release.chip(self.arch), self.dram);
        let dram = Dram {
            banks: dram.banks,
            base: dram.base.unwrap_or(chip.dram_base),
            bank_bytes: dram.bank_bytes.unwrap_or(chip.bank_bytes),
            alignment: dram.alignment.unwrap_or(chip.dram_alignment),
            readers_per_bank: dram.readers_per_bank.unwrap_or(chip.readers_per_bank),
        };
        Card { name: self.name, arch: self.arch, grid: self.grid, l1: self.l1.unwrap_or(chip.l1), dram }
    }
}
