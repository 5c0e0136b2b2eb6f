//! Bytes that calls read from DRAM and write to it.

use bitnetc_plan::ttnn::Outcome;
use bitnetc_plan::{Layout, Memory, Op, TensorSpec};

use super::{sdpa, sdpa_decode};

/// Bytes of a tensor's data, padding included.
pub fn data_bytes(spec: &TensorSpec) -> u64 {
    match spec.layout {
        Layout::Tile => spec.tile_rows() * spec.tile_columns() * spec.dtype.tile_bytes(),
        Layout::RowMajor => {
            spec.outer() * u64::from(spec.rows()) * u64::from(spec.columns()) * spec.dtype.element_bytes().unwrap_or(2)
        }
    }
}

/// Bytes a call reads from and writes to DRAM.
pub fn dram(op: &Op, operands: &[&TensorSpec], outcome: &Outcome, position: u32) -> u64 {
    let written: u64 = outcome.outputs.iter().filter(|s| in_dram(s)).map(data_bytes).sum();
    let read: u64 = match op {
        // Only the rows looked up.
        Op::Embedding(_) => outcome.outputs.iter().map(data_bytes).sum(),
        Op::CacheUpdate(_) => touched(operands[0], operands[1]) + touched(operands[2], operands[3]),
        Op::CacheUpdateOne(_) => touched(operands[0], operands[1]),
        Op::CacheFill(_) => 2 * data_bytes(operands[1]),
        Op::SdpaDecode(args) => dram_of(&operands[..1]) + sdpa_decode::reads(args, operands, position),
        Op::Sdpa(args) => dram_of(&operands[..1]) + sdpa::reads(args, operands),
        Op::Slice(_) => written.max(outcome.outputs.iter().map(data_bytes).sum()),
        Op::RmsNorm(_)
        | Op::Matmul(_)
        | Op::CreateHeadsDecode(_)
        | Op::CreateHeads(_)
        | Op::RotaryFused(_)
        | Op::RotaryDecode(_)
        | Op::Rotary(_)
        | Op::ConcatHeadsDecode(_)
        | Op::ConcatHeads(_)
        | Op::ToMemoryConfig(_)
        | Op::ToLayout(_)
        | Op::Typecast(_)
        | Op::View(_)
        | Op::Transpose(_)
        | Op::Concat(_)
        | Op::Binary(_)
        | Op::Abs(_)
        | Op::RowMax(_)
        | Op::ArgMax(_)
        | Op::PlusOne(_)
        | Op::Deallocate(_) => dram_of(operands),
    };
    read + written
}

fn in_dram(spec: &TensorSpec) -> bool {
    spec.memory.memory() == Memory::Dram
}

fn dram_of(operands: &[&TensorSpec]) -> u64 {
    operands.iter().filter(|s| in_dram(s)).map(|s| data_bytes(s)).sum()
}

/// One new row per user and kv head: the tiles of that row are read, changed and written back.
fn touched(cache: &TensorSpec, rows: &TensorSpec) -> u64 {
    2 * u64::from(rows.shape[1]) * u64::from(cache.shape[1]) * cache.tile_columns() * cache.dtype.tile_bytes()
}
