//! `ttnn.typecast`.

use super::constraint::{constraints, values};
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::Typecast;
use crate::ttnn::checks::operands;
use crate::{Card, DType, Layout, MemoryConfig, TILE, TensorSpec};

constraints! { "typecast", "typecast_device_op.cpp", also [placement];
    TILED_FLOATS: "A tiled tensor of a float type becomes one of another float type, or row-major u16 become u32."
        because "plans cast nothing else; buffers of other row-major and integer tensors were not studied"
        => "typecast of {input} to {dtype}", "a tiled tensor and float types";
    ROWS_OF_A_TILE: "Row-major u16 are [1, 1, B, 32] with at most 32 rows, interleaved in DRAM, and stay there."
        because "plans cast the columns that topk finds, and no other integers"
        => "typecast of {input} to {output}", "[1, 1, B, 32] in DRAM";
    ANOTHER_TYPE: "The type changes."
        because "TT-NN returns the same tensor otherwise, and a step has a result of its own"
        => "typecast from {from} to {to}", "another type, or no call";
    MEMORY_LAYOUT: "Input and result are sharded alike, or both interleaved."
        => "Typecast operation requires Input and Output memory layout to match. Input layout: {input}, Output layout: {output}",
           "the input's sharding, or both interleaved";
    SAME_SHARDS: "A sharded result lies in the input's shards."
        because "other shards of the same kind were not studied"
        => "typecast from {input} to {output}", "the input's shards";
}

/// Any tiled float tensor to any float type, sharded as it was or interleaved as it was.
pub(super) fn check(args: &Typecast, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    if (x.layout, x.dtype, args.dtype) == (Layout::RowMajor, DType::U16, DType::U32) {
        return columns(args, x, checks);
    }
    let float = |d| matches!(d, DType::Bf16 | DType::Bfp8 | DType::Bfp4 | DType::F32);
    checks.require(
        &TILED_FLOATS,
        x.layout == Layout::Tile && float(x.dtype) && float(args.dtype),
        values![input = x, dtype = args.dtype],
    );
    checks.require(&ANOTHER_TYPE, x.dtype != args.dtype, values![from = x.dtype, to = args.dtype]);
    checks.require(
        &MEMORY_LAYOUT,
        x.memory.strategy() == args.memory.strategy(),
        values![input = x.memory, output = args.memory],
    );
    checks.require(
        &SAME_SHARDS,
        !x.memory.is_sharded() || x.memory == args.memory,
        values![input = x.memory, output = args.memory],
    );
    let output = TensorSpec::tile(x.shape.clone(), args.dtype, args.memory.clone());
    require_placement(&output, card, &mut checks);
    let circular_buffers = 2 * (x.dtype.tile_bytes() + args.dtype.tile_bytes());
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

/// Rows of column numbers, in pieces of a tile's elements.
fn columns(args: &Typecast, x: &TensorSpec, mut checks: Checks) -> Answer {
    let rows = matches!(*x.shape.as_slice(), [1, 1, rows, TILE] if rows <= TILE);
    let stays = x.memory == MemoryConfig::DRAM && args.memory == MemoryConfig::DRAM;
    checks.require(&ROWS_OF_A_TILE, rows && stays, values![input = x, output = args.memory]);
    let output = TensorSpec::row_major(x.shape.clone(), args.dtype, args.memory.clone());
    let circular_buffers = 2 * (x.dtype.tile_bytes() + args.dtype.tile_bytes());
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, bytes, n150, refusal, row};

    #[test]
    fn bytes_of_typecast() {
        let card = n150();
        let x = row(&card, 32, 2560, 8, 10);
        let to = |dtype, memory: &MemoryConfig| Typecast { input: any(), dtype, memory: memory.clone() };
        assert_eq!(bytes(to(DType::Bfp8, &x.memory), &[&x], &card), 6272);
        let dram = TensorSpec::tile([1, 5, 128, 128], DType::Bf16, MemoryConfig::DRAM);
        assert_eq!(bytes(to(DType::F32, &MemoryConfig::L1), &[&dram], &card), 12_288);
        let moved = check(&to(DType::Bfp8, &MemoryConfig::DRAM).into(), &[&x], &card);
        assert!(refusal(moved).contains("Input and Output memory layout to match"));
    }
}
