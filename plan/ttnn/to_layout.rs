//! `ttnn.to_layout`: tiles to rows, and rows to tiles.

use super::constraint::{constraints, values};
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::ToLayout;
use crate::ttnn::checks::operands;
use crate::{Card, DType, Layout, Memory, MemoryConfig, Strategy, TILE, TensorSpec};

constraints! { "to_layout", "", also [placement];
    OTHER_LAYOUT: "A tiled tensor becomes row-major, or a row-major one tiled."
        because "TT-NN returns a tensor that has the layout already"
        => "to_layout from {from} to {to}", "the other layout";
    ROWS_TO_TILES: "A tensor that becomes tiled is row-major bf16 [1, 1, N, D], interleaved, of 1 to 32 whole tiles of columns."
        because "groups of logits are; wider rows are cut into blocks by a search in TT-NN"
        => "tilize of {input}", "a row-major bf16 tensor [1, 1, N, D], interleaved, D a multiple of 32 up to 1024";
    RESULT_INTERLEAVED: "The result is interleaved."
        because "kernels for sharded results have buffers that depend on a search in TT-NN"
        => "untilize into {memory}", "an interleaved result";
    FLOAT: "The tensor is bf16, bfp8 or f32, or of u16 or u32."
        because "other types were not studied"
        => "untilize of {dtype}", "bf16, bfp8, f32, u16 or u32";
    TILE_OF_INTEGERS: "A tensor of u16 or u32 is [1, 1, B, 32] with at most 32 rows, and stays interleaved in DRAM."
        because "plans untilize the columns that topk finds, and no other integers"
        => "untilize of {input} into {memory}", "[1, 1, B, 32] in DRAM";
    WIDTH_SHARDED: "The tensor is width-sharded in L1."
        because "other placements go through kernels whose buffers depend on a search in TT-NN"
        => "untilize of {memory}", "a width-sharded tensor in L1";
    ONE_TILE_ROW: "The tensor has one row of tiles."
        because "plans untilize logits of one token per user"
        => "untilize of {rows} rows of tiles", "at most 32 rows";
}

/// Tiles to rows: one row of tiles, width-sharded in L1 -> row-major, interleaved. bfp8 becomes bf16.
pub(super) fn check(args: &ToLayout, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    checks.require(&OTHER_LAYOUT, args.layout != x.layout, values![from = x.layout, to = args.layout]);
    checks.require(&RESULT_INTERLEAVED, !args.memory.is_sharded(), values![memory = args.memory]);
    if args.layout == Layout::Tile {
        return tilize(args, x, card, checks);
    }
    if matches!(x.dtype, DType::U16 | DType::U32) {
        return integers(args, x, checks);
    }
    if matches!(*x.shape.as_slice(), [1, 1, 1, _]) && x.dtype == DType::Bf16 && !x.memory.is_sharded() {
        return row(args, x, card, checks);
    }
    checks.require(&FLOAT, matches!(x.dtype, DType::Bf16 | DType::Bfp8 | DType::F32), values![dtype = x.dtype]);
    let MemoryConfig::Sharded { memory: Memory::L1, strategy: Strategy::Width, shard, .. } = &x.memory else {
        checks.require(&WIDTH_SHARDED, false, values![memory = x.memory]);
        return checks.finish(Outcome::default);
    };
    checks.require(&ONE_TILE_ROW, x.tile_rows() == 1, values![rows = x.tile_rows()]);
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

/// Rows to tiles: each core takes whole rows of tiles, which it has once as rows and once as tiles. Rows that fill a tile up are zeros.
fn tilize(args: &ToLayout, x: &TensorSpec, card: &Card, mut checks: Checks) -> Answer {
    let rows = x.shape.len() == 4 && x.outer() == 1 && x.dtype == DType::Bf16 && !x.memory.is_sharded();
    let whole = x.columns().is_multiple_of(TILE) && x.columns() <= 32 * TILE;
    checks.require(&ROWS_TO_TILES, rows && whole, values![input = x]);
    let output = TensorSpec::tile(x.shape.clone(), x.dtype, args.memory.clone());
    require_placement(&output, card, &mut checks);
    let circular_buffers = 2 * u64::from(x.columns() / TILE) * x.dtype.tile_bytes();
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

/// A single interleaved row: up to 32 tiles by one core, more in equal parts by all but one.
fn row(args: &ToLayout, x: &TensorSpec, card: &Card, mut checks: Checks) -> Answer {
    let tiles = x.tile_columns();
    let held = if tiles <= 32 { tiles } else { tiles.div_ceil(u64::from(card.cores()).saturating_sub(1).max(1)) };
    let output = TensorSpec::row_major(x.shape.clone(), x.dtype, args.memory.clone());
    require_placement(&output, card, &mut checks);
    let circular_buffers = 2 * held * x.dtype.tile_bytes();
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

/// A tile of integers, from DRAM to DRAM.
fn integers(args: &ToLayout, x: &TensorSpec, mut checks: Checks) -> Answer {
    let tile = matches!(*x.shape.as_slice(), [1, 1, rows, TILE] if rows <= TILE);
    let stays = x.memory == MemoryConfig::DRAM && args.memory == MemoryConfig::DRAM;
    checks.require(&TILE_OF_INTEGERS, tile && stays, values![input = x, memory = args.memory]);
    let output = TensorSpec::row_major(x.shape.clone(), x.dtype, args.memory.clone());
    let circular_buffers = 2 * x.dtype.tile_bytes();
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::mock::{any, bytes, n150, p150, row};

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
    fn bytes_of_a_row_and_of_groups_as_mock_cards_report_them() {
        let rows = |columns| {
            let x = TensorSpec::tile([1, 1, 1, columns], DType::Bf16, MemoryConfig::L1);
            let args = ToLayout { input: any(), layout: Layout::RowMajor, memory: MemoryConfig::DRAM };
            [n150(), p150()].map(|card| bytes(args.clone(), &[&x], &card))
        };
        for (columns, wormhole, blackhole) in [
            (20, 4096, 4096),
            (167, 24_576, 24_576),
            (1024, 131_072, 131_072),
            (1336, 4096, 4096),
            (2024, 8192, 4096),
            (2672, 8192, 4096),
            (5344, 12_288, 8192),
            (8016, 16_384, 12_288),
            (8087, 20_480, 12_288),
            (16_000, 32_768, 20_480),
            (32_064, 65_536, 40_960),
        ] {
            assert_eq!(rows(columns), [wormhole, blackhole], "{columns}");
        }
        for (rows, columns, wanted) in
            [(5344, 768, 98_304), (1336, 768, 98_304), (40, 128, 16_384), (999, 1024, 131_072)]
        {
            let x = TensorSpec::row_major([1, 1, rows, columns], DType::Bf16, MemoryConfig::DRAM);
            let args = ToLayout { input: any(), layout: Layout::Tile, memory: MemoryConfig::L1 };
            assert_eq!([n150(), p150()].map(|card| bytes(args.clone(), &[&x], &card)), [wanted; 2]);
        }
    }
}
