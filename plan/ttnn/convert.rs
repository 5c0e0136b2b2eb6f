//! Calls that change a tensor's layout or data type: `ttnn.to_layout`, `ttnn.typecast`.

use super::{Answer, Checks, Outcome, operands, require_placement};
use crate::op::{ToLayout, Typecast};
use crate::{Card, DType, Layout, Memory, MemoryConfig, Strategy, TILE, TensorSpec};

/// Tiles to rows: one row of tiles, width-sharded in L1 -> row-major, interleaved. bfp8 becomes bf16.
///
/// Stricter than TT-NN, which converts anything to anything: other placements go through kernels whose buffers depend on a search.
///
/// # Errors
/// The above and what no tensor may break.
pub fn check_to_layout(args: &ToLayout, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    checks.narrow(
        args.layout == Layout::RowMajor && x.layout == Layout::Tile,
        format_args!("to_layout from {:?} to {:?}", x.layout, args.layout),
        format_args!("a tiled tensor made row-major"),
    );
    checks.narrow(
        !args.memory.is_sharded(),
        format_args!("untilize into {}", args.memory),
        format_args!("an interleaved result"),
    );
    checks.narrow(
        matches!(x.dtype, DType::Bf16 | DType::Bfp8 | DType::F32),
        format_args!("untilize of {}", x.dtype),
        format_args!("bf16, bfp8 or f32"),
    );
    let MemoryConfig::Sharded { memory: Memory::L1, strategy: Strategy::Width, shard, .. } = &x.memory else {
        checks.narrow(false, format_args!("untilize of {}", x.memory), format_args!("a width-sharded tensor in L1"));
        return checks.finish(Outcome::default);
    };
    checks.narrow(
        x.tile_rows() == 1,
        format_args!("untilize of {} rows of tiles", x.tile_rows()),
        format_args!("at most 32 rows"),
    );
    let dtype = if x.dtype == DType::Bfp8 { DType::Bf16 } else { x.dtype };
    let tiles = u64::from(shard[1] / TILE);
    let out = tiles * dtype.tile_bytes();
    let even = x.columns().next_multiple_of(TILE) % shard[1].max(1) == 0;
    let circular_buffers = match (x.rows() % TILE == 0 && x.columns() % TILE == 0, even) {
        (true, true) => out,
        (true, false) => out + tiles * x.dtype.tile_bytes(),
        (false, _) => 2 * out,
    };
    let output = TensorSpec::row_major(x.shape.clone(), dtype, args.memory.clone());
    require_placement(&output, card, &mut checks);
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

/// Any tiled float tensor to any float type, sharded as it was or interleaved as it was.
///
/// # Errors
/// The constraints of `typecast_device_op.cpp` that the call breaks; integer types and the type it has (stricter than TT-NN).
pub fn check_typecast(args: &Typecast, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    let float = |d| matches!(d, DType::Bf16 | DType::Bfp8 | DType::Bfp4 | DType::F32);
    checks.narrow(
        x.layout == Layout::Tile && float(x.dtype) && float(args.dtype),
        format_args!("typecast of {x} to {}", args.dtype),
        format_args!("a tiled tensor and float types"),
    );
    checks.narrow(
        x.dtype != args.dtype,
        format_args!("typecast from {} to {}", x.dtype, args.dtype),
        format_args!("another type, or no call"),
    );
    checks.require(
        x.memory.strategy() == args.memory.strategy(),
        format_args!(
            "Typecast operation requires Input and Output memory layout to match. Input layout: {}, Output layout: {}",
            x.memory, args.memory
        ),
        format_args!("the input's sharding, or both interleaved"),
    );
    checks.narrow(
        !x.memory.is_sharded() || x.memory == args.memory,
        format_args!("typecast from {} to {}", x.memory, args.memory),
        format_args!("the input's shards"),
    );
    let output = TensorSpec::tile(x.shape.clone(), args.dtype, args.memory.clone());
    require_placement(&output, card, &mut checks);
    let circular_buffers = 2 * (x.dtype.tile_bytes() + args.dtype.tile_bytes());
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, bytes, n150, refusal, row};

    #[test]
    fn bytes_of_untilize() {
        let card = n150();
        let of = |rows, columns, cores, tiles, dtype| {
            let x = TensorSpec { dtype, ..row(&card, rows, columns, cores, tiles) };
            let args = ToLayout { input: any(), layout: Layout::RowMajor, memory: MemoryConfig::DRAM };
            bytes(args, &[&x], &card)
        };
        assert_eq!(of(32, 16032, 24, 21, DType::Bf16), 86_016);
        assert_eq!(of(8, 16032, 24, 21, DType::Bf16), 86_016);
        assert_eq!(of(32, 2560, 8, 10, DType::Bf16), 20_480);
        assert_eq!(of(1, 2560, 8, 10, DType::Bf16), 40_960);
        assert_eq!(of(32, 16032, 32, 16, DType::F32), 131_072);
        assert_eq!(of(32, 2560, 27, 3, DType::Bfp8), 9408);
        assert_eq!(of(32, 4008, 42, 3, DType::Bfp8), 12_288);
    }

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
