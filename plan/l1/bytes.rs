//! Bytes a tensor takes of each bank: of every core's L1, or of a DRAM bank.
//!
//! Pages are rounded up to the alignment of their memory, whole buffers to that of DRAM, in L1 too.

use crate::{Card, Layout, Memory, MemoryConfig, TILE, TensorSpec};

/// Bytes `spec`, a tensor in L1, takes of every core's L1. The same on all cores: allocation is lock-step.
pub fn buffer_bytes(spec: &TensorSpec, card: &Card) -> u64 {
    l1_bytes(spec, u64::from(card.cores()), card.l1.alignment).next_multiple_of(card.dram.alignment)
}

/// Bytes `spec`, a tensor in DRAM, takes of the fullest DRAM bank. All banks are charged alike, as allocation is lock-step there too.
pub fn dram_bytes_per_bank(spec: &TensorSpec, card: &Card) -> u64 {
    let alignment = card.dram.alignment;
    per_bank(spec, u64::from(card.dram.banks), alignment).next_multiple_of(alignment)
}

/// Bytes of `spec` on each of `banks` cores before the buffer is rounded up.
pub(super) fn l1_bytes(spec: &TensorSpec, banks: u64, alignment: u64) -> u64 {
    debug_assert_eq!(spec.memory.memory(), Memory::L1);
    per_bank(spec, banks, alignment)
}

/// Pages per bank times their rounded-up size. A page is a tile, or one row: of the shard when sharded, of the tensor when not.
fn per_bank(spec: &TensorSpec, banks: u64, alignment: u64) -> u64 {
    match &spec.memory {
        MemoryConfig::Interleaved(_) => {
            let (pages, bytes) = match spec.layout {
                Layout::Tile => (spec.tile_rows() * spec.tile_columns(), spec.dtype.tile_bytes()),
                Layout::RowMajor => (spec.matrix_rows(), row_bytes(spec, spec.columns())),
            };
            pages.div_ceil(banks.max(1)) * bytes.next_multiple_of(alignment)
        }
        MemoryConfig::Sharded { shard: [rows, columns], .. } => {
            let (pages, bytes) = match spec.layout {
                Layout::Tile => {
                    let tiles = u64::from(rows.div_ceil(TILE)) * u64::from(columns.div_ceil(TILE));
                    (tiles, spec.dtype.tile_bytes())
                }
                Layout::RowMajor => (u64::from(*rows), row_bytes(spec, *columns)),
            };
            pages * bytes.next_multiple_of(alignment)
        }
    }
}

/// Bytes of `columns` row-major elements. Block formats have no rows; their tile's share stands in, so that no size is ever 0.
fn row_bytes(spec: &TensorSpec, columns: u32) -> u64 {
    u64::from(columns) * spec.dtype.element_bytes().unwrap_or(1)
}
