//! `ttnn.slice` of rows, or of the first columns.
//!
//! Rows of a row-major tensor are read and written whole by one core each, through two of them in L1. Where two do not fit they pass in
//! pieces of 8 kB. TT-NN reckons with what is alive in L1 then; a row of which two fit an empty L1 and not what is left is a plan's to
//! refuse.

use super::constraint::{constraints, values};
use super::to_memory_config::moved;
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::{Kept, Slice};
use crate::ttnn::checks::operands;
use crate::{Card, Layout, MemoryConfig, TILE, TensorSpec};

constraints! { "slice", "slice_device_operation.cpp", also [to_memory_config, placement];
    ROWS: "The rows are some of the tensor's."
        => "Ends {end} must be less than or equal to the shape of the tensor {rows}", "rows within 0..{rows}";
    WHOLE_TILES: "The first row is a multiple of 32."
        because "TT-NN takes rows from anywhere by way of a row-major copy, whose buffers were not studied"
        => "slice of tiles from row {start}", "a first row that is a multiple of 32";
    TILED_MATRIX: "The tensor is a single tiled matrix."
        because "plans slice nothing else"
        => "slice of {input}", "a tiled tensor [1, 1, rows, columns]";
    COLUMNS: "The columns are some of the tensor's."
        => "Ends {end} must be less than or equal to the shape of the tensor {columns}", "at most {columns} columns";
    ROW_MAJOR_IN_DRAM: "Columns are cut off a row-major matrix in DRAM, into DRAM."
        because "plans cut logits there; other kernels were not studied"
        => "columns of {input} into {memory}", "row-major [1, 1, rows, columns] interleaved in DRAM, result too";
    ROW_PER_CORE: "There is a core for each row whose columns are cut."
        because "a plan cuts rows of at most 32 users; buffers of more rows were not studied"
        => "columns of {rows} rows", "at most {cores} rows";
    LAST_TILE_IS_FULL: "Where the last token's tile is kept, all tiles of rows are full."
        because "which tile it is shows only when the call is made, and every tile must be one that can be taken"
        => "the last token's tile of {rows} rows", "rows in multiples of 32";
}

/// `[1,1,S,N]` tiled, rows from a multiple of 32 on -> `[1,1,rows,N]` anywhere. A slice of all rows is a copy to another placement.
pub(super) fn check(args: &Slice, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    let (start, end) = match args.kept {
        Kept::Rows(start, end) => (start, end),
        Kept::LastTokenTile => (0, TILE.min(x.rows())),
        Kept::Columns(count) => return columns(count, x, &args.memory, card, checks),
    };
    checks.require(&ROWS, start < end && end <= x.rows(), values![end, rows = x.rows()]);
    checks.require(&WHOLE_TILES, start % TILE == 0, values![start]);
    checks.require(&TILED_MATRIX, x.layout == Layout::Tile && x.outer() == 1 && x.shape.len() >= 2, values![input = x]);
    checks.require(
        &LAST_TILE_IS_FULL,
        !matches!(args.kept, Kept::LastTokenTile) || x.rows() % TILE == 0,
        values![rows = x.rows()],
    );
    checks.settle()?;
    if end - start == x.rows() {
        return moved(x, &args.memory, card, checks);
    }
    let mut shape = x.shape.clone();
    let last = shape.len() - 2;
    shape[last] = end - start;
    let output = TensorSpec::tile(shape, x.dtype, args.memory.clone());
    require_placement(&output, card, &mut checks);
    // Two tiles and four words of indices.
    let circular_buffers = 2 * x.dtype.tile_bytes() + 16;
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

/// The first `count` columns of a row-major matrix. A slice of all columns is the tensor itself.
fn columns(count: u32, x: &TensorSpec, memory: &MemoryConfig, card: &Card, mut checks: Checks) -> Answer {
    let in_dram = x.layout == Layout::RowMajor && x.memory == MemoryConfig::DRAM && *memory == MemoryConfig::DRAM;
    checks.require(&ROW_MAJOR_IN_DRAM, in_dram && x.outer() == 1 && x.shape.len() == 4, values![input = x, memory]);
    checks.settle()?;
    checks.require(&COLUMNS, (1..x.columns()).contains(&count), values![end = count, columns = x.columns()]);
    checks.require(&ROW_PER_CORE, x.rows() <= card.cores(), values![rows = x.rows(), cores = card.cores()]);
    checks.settle()?;
    let mut shape = x.shape.clone();
    shape[3] = count;
    let output = TensorSpec::row_major(shape, x.dtype, MemoryConfig::DRAM);
    require_placement(&output, card, &mut checks);
    let circular_buffers = row_bytes(u64::from(count) * x.dtype.element_bytes().unwrap_or(0), card);
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

/// Two buffers of a row of `bytes`, of a few short rows or of a piece of a long one, and four words of indices.
fn row_bytes(bytes: u64, card: &Card) -> u64 {
    const MOST_READ: u64 = 4096;
    const PIECE: u64 = 8192;
    let row = bytes.next_multiple_of(card.dram.alignment);
    if 2 * row <= card.l1_bytes() {
        let at_once = [32, 16, 8, 4, 2].into_iter().find(|rows| rows * row <= MOST_READ).unwrap_or(1);
        return 2 * at_once * row + 16;
    }
    // An odd number of pieces is made even where slightly smaller ones do it; two pieces are read at once then.
    let even = |piece: u64| bytes.div_ceil(piece).is_multiple_of(2);
    let smaller = bytes / (bytes.div_ceil(PIECE) + 1) / card.dram.alignment * card.dram.alignment;
    let piece = if even(PIECE) || !even(smaller) { PIECE } else { smaller };
    2 * (if even(piece) { 2 } else { 1 }) * piece + 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, bytes, n150, p150, refusal, row};

    fn slice(kept: Kept, memory: MemoryConfig) -> Slice {
        Slice { input: any(), kept, memory }
    }

    #[test]
    fn bytes_of_slices() {
        let card = n150();
        let x = |dtype| TensorSpec::tile([1, 1, 128, 2560], dtype, MemoryConfig::DRAM);
        let shards = row(&card, 32, 2560, 8, 10).memory;
        for rows in [Kept::Rows(96, 128), Kept::LastTokenTile] {
            let answer = check(&slice(rows, shards.clone()).into(), &[&x(DType::Bf16)], &card).unwrap();
            assert_eq!((answer.circular_buffers, answer.outputs[0].rows()), (4112, 32));
        }
        assert_eq!(bytes(slice(Kept::Rows(0, 32), MemoryConfig::L1), &[&x(DType::F32)], &card), 8208);
        assert_eq!(bytes(slice(Kept::Rows(64, 65), MemoryConfig::DRAM), &[&x(DType::Bfp8)], &card), 2192);
        let whole = TensorSpec::tile([1, 1, 32, 2560], DType::Bf16, MemoryConfig::DRAM);
        assert_eq!(bytes(slice(Kept::LastTokenTile, shards), &[&whole], &card), 0);
        let said = refusal(check(&slice(Kept::Rows(95, 127), MemoryConfig::DRAM).into(), &[&x(DType::Bf16)], &card));
        assert!(said.contains("from row 95"));
    }

    #[test]
    fn bytes_of_columns() {
        let of = |rows, columns, kept, dtype, card: &Card| {
            let x = TensorSpec::row_major([1, 1, rows, columns], dtype, MemoryConfig::DRAM);
            check(&slice(Kept::Columns(kept), MemoryConfig::DRAM).into(), &[&x], card)
        };
        let bytes =
            |rows, columns, kept, dtype, card: &Card| of(rows, columns, kept, dtype, card).unwrap().circular_buffers;
        assert_eq!(bytes(32, 100_032, 100_003, DType::Bf16, &n150()), 400_080);
        assert_eq!(bytes(1, 1056, 1021, DType::F32, &n150()), 8208);
        assert_eq!(bytes(3, 33, 19, DType::F32, &n150()), 6160);
        assert!(refusal(of(32, 64, 65, DType::Bf16, &n150())).contains("Ends 65"));
        assert!(refusal(of(65, 64, 33, DType::Bf16, &n150())).contains("columns of 65 rows"));
        assert_eq!(of(1, 1056, 1021, DType::F32, &p150()).unwrap().outputs[0].shape, [1, 1, 1, 1021]);
    }
}
