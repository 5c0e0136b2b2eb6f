//! The card a plan is made for, as the figures that decide which tensors fit and which calls are legal.

use serde::{Deserialize, Serialize};

/// Chip family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Arch {
    /// The chips of N150 and N300.
    Wormhole,
    /// The chips of P100 and P150.
    Blackhole,
}

/// A card as TT-NN reports it. Harvesting changes the grid and the banks, so these are data of one card, not of its family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// `n150`, `p150`, ...
    pub name: String,
    /// Chip family.
    pub arch: Arch,
    /// Worker cores that may run kernels: columns, rows.
    pub grid: (u32, u32),
    /// Worker cores' L1.
    pub l1: L1,
    /// DRAM banks.
    pub dram: Dram,
}

/// L1 of one worker core, in bytes. The allocator hands out the top first; circular buffers grow from the bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct L1 {
    /// Address at which circular buffers start: everything below belongs to firmware and kernels.
    pub base: u64,
    /// First address past the allocator's region.
    pub end: u64,
    /// Alignment of pages. Whole buffers are aligned as in DRAM.
    pub alignment: u64,
}

/// The card's DRAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dram {
    /// Number of banks.
    pub banks: u32,
    /// First address of a bank that the allocator hands out: everything below belongs to firmware.
    pub base: u64,
    /// Bytes of one bank that the allocator hands out. Tensors are laid from the bottom, commands of traces and kernels from the top.
    pub bank_bytes: u64,
    /// Alignment of pages, and of whole buffers in L1 too.
    pub alignment: u64,
    /// Most worker cores a DRAM-sharded matmul may read one bank with (`num_workers_per_dram_bank`).
    pub readers_per_bank: u32,
}

impl Card {
    /// Number of worker cores.
    pub fn cores(&self) -> u32 {
        self.grid.0.saturating_mul(self.grid.1)
    }

    /// The bytes of L1 per core that circular buffers and tensors share.
    pub fn l1_bytes(&self) -> u64 {
        self.l1.end.saturating_sub(self.l1.base)
    }
}
