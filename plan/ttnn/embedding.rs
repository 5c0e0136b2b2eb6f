//! `ttnn.embedding`: rows of a table.
//!
//! With a multiple of 32 indices one program reads and tilizes, to any placement. Otherwise the rows go to an interleaved row-major tensor
//! first, and the result is interleaved.

use super::constraint::{constraints, values};
use super::{Answer, Checks, Outcome, Temporary, require_placement};
use crate::op::Embedding;
use crate::ttnn::checks::operands;
use crate::{Card, DType, Layout, MemoryConfig, Strategy, TILE, TensorSpec};

constraints! { "embedding", "embedding_device_operation.cpp", also [placement];
    INDEX_TYPE: "Indices are u32 or bf16."
        => "Input must be UINT32 or BFLOAT16: {indices}", "u32 indices";
    ROW_OF_INDICES: "Indices are u32, row-major and interleaved."
        because "tokens are kept so; other indices take other kernels"
        => "indices {indices}", "row-major u32 indices, interleaved";
    ONE_ROW: "Indices are a single row."
        because "a phase reads one row of tokens"
        => "indices {shape}", "[1, N] or [1, 1, N]";
    TABLE_TYPE: "The table is bf16."
        => "Weights tensor must have BFLOAT16 dtype: {table}", "a bf16 table";
    TABLE_ROWS: "The table is one row-major interleaved matrix whose rows are whole tiles."
        because "TT-NN untilizes a tiled table whole, every time"
        => "table {table}", "a row-major interleaved table [1, 1, V, D], D a multiple of 32";
    RESULT_TILED: "The result is tiled."
        because "plans compute on tiles"
        => "embedding into {layout} layout", "a tiled result";
    SHARD_DIVIDES_ROW: "The width of a shard of the result divides the row."
        => "Number of columns in table {columns} must be factor of shard width {width}", "shards of equal width";
    FULL_TILES_FOR_WIDTH_SHARDS: "A width-sharded result has a multiple of 32 rows."
        => "Shard height {height} must match physical height {count} of the row-major rows",
           "an interleaved result, or a multiple of 32 indices";
    FULL_TILES_FOR_HEIGHT_SHARDS: "A height-sharded result has a multiple of 32 rows."
        because "rows of a shard pass through a second program whose buffers were not studied"
        => "{count} rows into {memory}", "an interleaved result, or a multiple of 32 indices";
    FEW_OR_NARROW_ROWS: "Of rows wider than 1024 columns, a number that is no multiple of 32 is at most 32."
        because "buffers of the tilizing program were not studied for more"
        => "embedding of {count} rows of {columns}", "a multiple of 32 indices, or at most 32";
}

/// Rows of a row-major bf16 table `[1,1,V,D]` at u32 indices `[..,N]` -> tiled `[1,N,D]`.
pub(super) fn check(args: &Embedding, given: &[&TensorSpec], card: &Card) -> Answer {
    let [indices, table] = operands(given)?;
    let mut checks = Checks::new();
    require_operands(args, indices, table, &mut checks);
    checks.settle()?;
    let (count, columns) = (indices.columns(), table.columns());
    let output = TensorSpec::tile([1, count, columns], DType::Bf16, args.memory.clone());
    require_placement(&output, card, &mut checks);
    if let Some([_, width]) = args.memory.shard() {
        checks.require(&SHARD_DIVIDES_ROW, columns % width.max(1) == 0, values![columns, width]);
    }
    if count % TILE == 0 {
        let circular_buffers = fused_bytes(&args.memory, columns / TILE);
        return checks.finish(|| Outcome {
            outputs: vec![output],
            circular_buffers,
            temporaries: Vec::new(),
            programs: 1,
        });
    }
    let strategy = args.memory.strategy();
    checks.require(
        &FULL_TILES_FOR_WIDTH_SHARDS,
        strategy != Some(Strategy::Width),
        values![height = count.next_multiple_of(TILE), count],
    );
    checks.require(
        &FULL_TILES_FOR_HEIGHT_SHARDS,
        strategy != Some(Strategy::Height),
        values![count, memory = args.memory],
    );
    checks.require(&FEW_OR_NARROW_ROWS, columns <= 32 * TILE || count <= TILE, values![count, columns]);
    let circular_buffers = rows_bytes(columns, card).max(tilize_bytes(columns / TILE, card));
    let rows = TensorSpec::row_major([1, count, columns], DType::Bf16, args.memory.clone());
    let temporaries = vec![Temporary { spec: rows, before_output: true }];
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries, programs: 2 })
}

fn require_operands(args: &Embedding, indices: &TensorSpec, table: &TensorSpec, checks: &mut Checks) {
    checks.require(&INDEX_TYPE, matches!(indices.dtype, DType::U32 | DType::Bf16), values![indices]);
    checks.require(
        &ROW_OF_INDICES,
        indices.dtype == DType::U32 && indices.layout == Layout::RowMajor && !indices.memory.is_sharded(),
        values![indices],
    );
    checks.require(
        &ONE_ROW,
        indices.layout == Layout::Tile || indices.matrix_rows() == 1,
        values![shape = indices.shape],
    );
    checks.require(&TABLE_TYPE, table.dtype == DType::Bf16, values![table]);
    let rows = table.layout == Layout::RowMajor
        && table.outer() == 1
        && table.columns().is_multiple_of(TILE)
        && !table.memory.is_sharded();
    checks.require(&TABLE_ROWS, rows, values![table]);
    checks.require(&RESULT_TILED, args.layout == Layout::Tile, values![layout = args.layout]);
}

/// A row of tiles, twice when it has at most 64; again for the result unless it is packed into its shards; and 32 indices.
fn fused_bytes(memory: &MemoryConfig, table_tiles: u32) -> u64 {
    let (tiles, buffers) = match memory.shard() {
        Some(shard) => (shard[1] / TILE, 1),
        None => (table_tiles, 2),
    };
    let depth = if tiles <= 64 { 2 } else { 1 };
    buffers * depth * u64::from(tiles) * DType::Bf16.tile_bytes() + 128
}

/// The program that gathers rows: one row and eight pages of indices.
pub(super) fn rows_bytes(columns: u32, card: &Card) -> u64 {
    (u64::from(columns) * 2).next_multiple_of(card.dram.alignment) + 8 * card.dram.alignment
}

/// The program that tilizes them: whole rows of tiles up to 32 tiles, otherwise blocks spread over the cores.
fn tilize_bytes(tiles: u32, card: &Card) -> u64 {
    let tile = DType::Bf16.tile_bytes();
    if tiles <= 32 {
        return 2 * u64::from(tiles) * tile;
    }
    let block = u64::from(tiles / card.cores() + 1);
    2 * block * tile + 64 * block + 2 * card.dram.alignment
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, n150, p150, refusal, row};

    fn answer(count: u32, columns: u32, memory: MemoryConfig, card: &Card) -> Answer {
        let indices = TensorSpec::row_major([1, 1, count], DType::U32, MemoryConfig::DRAM);
        let table = TensorSpec::row_major([1, 1, 4096, columns], DType::Bf16, MemoryConfig::DRAM);
        let args = Embedding { indices: any(), table: any(), layout: Layout::Tile, memory };
        check(&args.into(), &[&indices, &table], card)
    }

    #[test]
    fn bytes_of_whole_tiles() {
        let card = n150();
        let of = |count, columns, memory| answer(count, columns, memory, &card).unwrap().circular_buffers;
        assert_eq!(of(32, 2560, MemoryConfig::DRAM), 327_808);
        assert_eq!(of(64, 128, MemoryConfig::L1), 32_896);
        assert_eq!(of(2048, 1024, MemoryConfig::DRAM), 262_272);
        assert_eq!(of(32, 2560, row(&card, 32, 2560, 20, 4).memory), 16_512);
        assert_eq!(of(32, 2560, row(&card, 32, 2560, 1, 80).memory), 163_968);
        assert_eq!(answer(32, 2560, MemoryConfig::L1, &card).unwrap().outputs[0].shape, [1, 32, 2560]);
    }

    #[test]
    fn fewer_rows_pass_through_a_row_major_tensor() {
        let of = |count, columns, card: &Card| answer(count, columns, MemoryConfig::L1, card).unwrap();
        let eight = of(8, 2560, &n150());
        assert_eq!((eight.circular_buffers, eight.programs), (8384, 2));
        assert_eq!(eight.temporaries[0].spec.layout, Layout::RowMajor);
        assert!(eight.temporaries[0].before_output);
        assert_eq!(of(2, 128, &n150()).circular_buffers, 16_384);
        assert_eq!(of(1, 4096, &n150()).circular_buffers, 12_544);
        assert_eq!(of(8, 2560, &p150()).circular_buffers, 5632);
        assert_eq!(of(8, 1056, &p150()).circular_buffers, 4288);
        assert_eq!(of(8, 3520, &p150()).circular_buffers, 8448);
        assert_eq!(
            answer(8, 2560, MemoryConfig::DRAM, &n150()).unwrap().temporaries[0].spec.memory,
            MemoryConfig::DRAM
        );
        let shards = row(&n150(), 8, 2560, 8, 10).memory;
        assert!(refusal(answer(8, 2560, shards, &n150())).contains("must match physical height 8"));
    }

    #[test]
    fn indices_of_several_rows_are_left_out() {
        let indices = TensorSpec::row_major([2, 1, 24], DType::U32, MemoryConfig::DRAM);
        let table = TensorSpec::row_major([1, 1, 4096, 1536], DType::Bf16, MemoryConfig::DRAM);
        let args = Embedding { indices: any(), table: any(), layout: Layout::Tile, memory: MemoryConfig::DRAM };
        let broken = check(&args.into(), &[&indices, &table], &n150()).unwrap_err();
        assert!(broken.iter().all(|v| v.is_narrower()), "{broken:?}");
    }
}
