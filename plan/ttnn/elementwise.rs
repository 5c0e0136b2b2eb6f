//! Shared by elementwise calls: their operands, and when their kernels read and write shards where they are.

use super::Checks;
use super::constraint::{constraints, values};
use crate::{DType, Layout, Memory, MemoryConfig, Strategy, TILE, TensorSpec};

constraints! { "elementwise", "";
    TILED: "Operands of elementwise calls are tiled."
        because "plans compute on tiles; buffers of row-major operands were not studied"
        => "operand {name} is in {layout} layout", "a tiled operand";
    FLOAT: "Operands of elementwise calls are bf16, bfp8 or f32."
        because "plans compute in these types; others take other kernels"
        => "operand {name} is {dtype}", "bf16, bfp8 or f32";
}

/// A tiled operand of a float type; `name` is what the text calls it.
pub(super) fn require_tiled_float(name: &str, spec: &TensorSpec, checks: &mut Checks) {
    checks.require(&TILED, spec.layout == Layout::Tile, values![name, layout = spec.layout]);
    checks.require(
        &FLOAT,
        matches!(spec.dtype, DType::Bf16 | DType::Bfp8 | DType::F32),
        values![name, dtype = spec.dtype],
    );
}

/// True for shards in L1.
pub(super) fn in_shards(memory: &MemoryConfig) -> bool {
    memory.is_sharded() && memory.memory() == Memory::L1
}

/// True for a sharding in L1 whose last shard is as full as the others.
pub(super) fn even_in_l1(columns: u32, rows: u64, memory: &MemoryConfig) -> bool {
    match memory {
        MemoryConfig::Sharded { memory: Memory::L1, strategy: Strategy::Width, shard, .. } => {
            columns.next_multiple_of(TILE).is_multiple_of(shard[1].max(1))
        }
        MemoryConfig::Sharded { memory: Memory::L1, strategy: Strategy::Height, shard, .. } => {
            rows.is_multiple_of(u64::from(shard[0].max(1)))
        }
        MemoryConfig::Sharded { memory: Memory::Dram, .. } | MemoryConfig::Interleaved(_) => false,
    }
}
