//! Calls on small persistent buffers: `ttnn.embedding`, `ttnn.plus_one`.

use super::movement::alignment;
use super::{Answer, Checks, Outcome, Temporary, operands, require_placement};
use crate::op::{Embedding, PlusOne};
use crate::{Card, DType, Layout, Memory, MemoryConfig, Strategy, TILE, TensorSpec};

/// Rows of a row-major bf16 table `[1,1,V,D]` at u32 indices `[..,N]` -> tiled `[1,N,D]`.
///
/// With N a multiple of 32 one program reads and tilizes, to any placement. Otherwise the rows go to an interleaved row-major tensor first,
/// and the result is interleaved. Stricter than TT-NN: a tiled result; a row-major table (TT-NN untilizes a tiled one whole, every
/// time); D a multiple of 32; more than 32 columns of tiles only for N up to 32 when N is no multiple of 32.
///
/// # Errors
/// The constraints of `embedding_device_operation.cpp` that the call breaks, and the above.
pub fn check_embedding(args: &Embedding, given: &[&TensorSpec], card: &Card) -> Answer {
    let [indices, table] = operands(given)?;
    let mut checks = Checks::new();
    checks.require(
        matches!(indices.dtype, DType::U32 | DType::Bf16),
        format_args!("Input must be UINT32 or BFLOAT16: {indices}"),
        format_args!("u32 indices"),
    );
    checks.narrow(
        indices.dtype == DType::U32 && indices.layout == Layout::RowMajor && !indices.memory.is_sharded(),
        format_args!("indices {indices}"),
        format_args!("row-major u32 indices, interleaved"),
    );
    checks.narrow(
        indices.layout == Layout::Tile || indices.matrix_rows() == 1,
        format_args!("indices {:?}", indices.shape),
        format_args!("[1, N] or [1, 1, N]"),
    );
    checks.require(
        table.dtype == DType::Bf16,
        format_args!("Weights tensor must have BFLOAT16 dtype: {table}"),
        format_args!("a bf16 table"),
    );
    checks.narrow(
        table.layout == Layout::RowMajor
            && table.outer() == 1
            && table.columns() % TILE == 0
            && !table.memory.is_sharded(),
        format_args!("table {table}"),
        format_args!("a row-major interleaved table [1, 1, V, D], D a multiple of 32"),
    );
    checks.narrow(
        args.layout == Layout::Tile,
        format_args!("embedding into {:?} layout", args.layout),
        format_args!("a tiled result"),
    );
    checks.settle()?;
    let count = indices.columns();
    let output = TensorSpec::tile([1, count, table.columns()], DType::Bf16, args.memory.clone());
    require_placement(&output, card, &mut checks);
    if let Some([_, width]) = args.memory.shard() {
        checks.require(
            table.columns() % width.max(1) == 0,
            format_args!("Number of columns in table {} must be factor of shard width {width}", table.columns()),
            format_args!("shards of equal width"),
        );
    }
    if count % TILE == 0 {
        let circular_buffers = fused_bytes(&args.memory, table.columns() / TILE);
        return checks.finish(|| Outcome {
            outputs: vec![output],
            circular_buffers,
            temporaries: Vec::new(),
            programs: 1,
        });
    }
    checks.require(
        args.memory.strategy() != Some(Strategy::Width),
        format_args!(
            "Shard height {} must match physical height {count} of the row-major rows",
            count.next_multiple_of(TILE)
        ),
        format_args!("an interleaved result, or a multiple of 32 indices"),
    );
    checks.narrow(
        args.memory.strategy() != Some(Strategy::Height),
        format_args!("{count} rows into {}", args.memory),
        format_args!("an interleaved result, or a multiple of 32 indices"),
    );
    checks.narrow(
        table.columns() <= 32 * TILE || count <= TILE,
        format_args!("embedding of {count} rows of {}", table.columns()),
        format_args!("a multiple of 32 indices, or at most 32"),
    );
    let circular_buffers = rows_bytes(table.columns(), card).max(tilize_bytes(table.columns() / TILE, card));
    let rows = TensorSpec::row_major([1, count, table.columns()], DType::Bf16, args.memory.clone());
    let temporaries = match args.memory.memory() {
        Memory::L1 => vec![Temporary { spec: rows, before_output: true }],
        Memory::Dram => Vec::new(),
    };
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries, programs: 2 })
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
fn rows_bytes(columns: u32, card: &Card) -> u64 {
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

/// One row of i32 or u32, row-major, interleaved; in place.
///
/// # Errors
/// The constraints of `plusone_device_operation.cpp` that the call breaks; more than one row (stricter than TT-NN).
pub fn check_plus_one(_args: &PlusOne, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    checks.require(
        matches!(x.dtype, DType::I32 | DType::U32),
        format_args!("Only INT32 and UINT32 is supported for inputs! {}", x.dtype),
        format_args!("an i32 or u32 buffer"),
    );
    checks.require(
        x.layout == Layout::RowMajor,
        format_args!("Only ROW_MAJOR layout is supported for inputs!"),
        format_args!("a row-major buffer"),
    );
    checks.narrow(
        x.matrix_rows() == 1 && !x.memory.is_sharded(),
        format_args!("plus_one of {x}"),
        format_args!("one row, interleaved"),
    );
    let circular_buffers = (u64::from(x.columns()) * 4).next_multiple_of(alignment(x.memory.memory(), card));
    checks.finish(|| Outcome { outputs: Vec::new(), circular_buffers, temporaries: Vec::new(), programs: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, bytes, integers, n150, p150, refusal, row};

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
        assert!(answer(8, 2560, MemoryConfig::DRAM, &n150()).unwrap().temporaries.is_empty());
        let shards = row(&n150(), 8, 2560, 8, 10).memory;
        assert!(refusal(answer(8, 2560, shards, &n150())).contains("must match physical height 8"));
    }

    #[test]
    fn indices_of_several_rows_are_left_out() {
        let indices = TensorSpec::row_major([2, 1, 24], DType::U32, MemoryConfig::DRAM);
        let table = TensorSpec::row_major([1, 1, 4096, 1536], DType::Bf16, MemoryConfig::DRAM);
        let args = Embedding { indices: any(), table: any(), layout: Layout::Tile, memory: MemoryConfig::DRAM };
        let broken = check(&args.into(), &[&indices, &table], &n150()).unwrap_err();
        assert!(broken.iter().all(|v| v.narrower), "{broken:?}");
    }

    #[test]
    fn bytes_of_plus_one() {
        let of = |count: u32, card: &Card| bytes(PlusOne { buffer: any() }, &[&integers([count])], card);
        assert_eq!((of(32, &n150()), of(1, &n150()), of(9, &n150())), (128, 32, 64));
        assert_eq!((of(32, &p150()), of(1, &p150()), of(9, &p150())), (128, 64, 64));
        let wrong = TensorSpec::row_major([32], DType::Bf16, MemoryConfig::DRAM);
        let answer = check(&PlusOne { buffer: any() }.into(), &[&wrong], &n150());
        assert!(refusal(answer).contains("Only INT32 and UINT32"));
    }
}
