//! Bytes a tensor takes of each bank: of every core's L1, or of every DRAM bank.
//!
//! Pages are rounded up to the alignment of their memory, whole buffers to that of DRAM, in L1 too.

use crate::{Card, Layout, Memory, MemoryConfig, TILE, TensorSpec};

/// Bytes `spec` takes of every bank of its memory. All are charged like the fullest, because allocation is lock-step.
pub fn bytes_per_bank(spec: &TensorSpec, card: &Card) -> u64 {
    let (banks, page_alignment) = banks(spec.memory.memory(), card);
    per_bank(spec, banks, page_alignment).next_multiple_of(card.dram.alignment)
}

/// The banks of a memory, over which interleaved pages are dealt, and what their pages are aligned to.
pub(super) fn banks(memory: Memory, card: &Card) -> (u64, u64) {
    match memory {
        Memory::L1 => (u64::from(card.cores()), card.l1.alignment),
        Memory::Dram => (u64::from(card.dram.banks), card.dram.alignment),
    }
}

/// Pages per bank times their rounded-up size. A page is a tile, or one row: of the shard when sharded, of the tensor when not.
pub(super) fn per_bank(spec: &TensorSpec, banks: u64, alignment: u64) -> u64 {
    let spec = spec.stored();
    match &spec.memory {
        MemoryConfig::Interleaved(_) => {
            let (pages, bytes) = match spec.layout {
                Layout::Tile => (spec.tile_rows() * spec.tile_columns(), spec.dtype.tile_bytes()),
                Layout::RowMajor => (spec.matrix_rows(), row_bytes(&spec, spec.columns())),
            };
            pages.div_ceil(banks.max(1)) * bytes.next_multiple_of(alignment)
        }
        MemoryConfig::Sharded { shard: [rows, columns], .. } => {
            let (pages, bytes) = match spec.layout {
                Layout::Tile => {
                    let tiles = u64::from(rows.div_ceil(TILE)) * u64::from(columns.div_ceil(TILE));
                    (tiles, spec.dtype.tile_bytes())
                }
                Layout::RowMajor => (u64::from(*rows), row_bytes(&spec, *columns)),
            };
            pages * bytes.next_multiple_of(alignment)
        }
    }
}

/// Bytes of `columns` row-major elements. Block formats have no rows; their tile's share stands in, so that no size is ever 0.
fn row_bytes(spec: &TensorSpec, columns: u32) -> u64 {
    u64::from(columns) * spec.dtype.element_bytes().unwrap_or(1)
}
